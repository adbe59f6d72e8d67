"""Check the inputs and outputs of networks from outside the package, by their role.

`gan_jax/methods/README.md` has the table of roles. A discriminator without a method `outputs`, that
is, a plain module that returns logits, counts as one without features and heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.outside import is_outside
from gan_jax.models.blocks.heads import Outputs

Inputs = tuple[jax.ShapeDtypeStruct, ...]
KEYWORDS = {"keys": "keys [1]", "dropout": "False"}


class Logits(nn.Module):
    """Wrap a plain module that returns logits as a discriminator."""

    module: nn.Module

    def __call__(self, images: jax.Array, *labels: jax.Array, train: bool) -> jax.Array:
        """Return logits [B]."""
        return self.outputs(images, *labels, train=train).logits

    @nn.compact
    def outputs(self, images: jax.Array, *labels: jax.Array, train: bool) -> Outputs:
        """Return the logits, without features or heads."""
        logits = self.module(images, *labels, train=train)
        return Outputs(logits[:, 0] if logits.ndim == 2 else logits)


def check_network(
    where: str,
    name: str,
    network: Any,
    inputs: Inputs,
    *,
    fits: Callable[[list[tuple[int, ...]]], bool],
    wanted: str,
    methods: tuple[str, ...] = (),
    keywords: tuple[str, ...] = (),
) -> None:
    """Raise UserError unless a network from outside the package fits its role; skip our own.

    Args:
      where: config field that names the network.
      name: value of that field.
      network: what its factory returned.
      inputs: abstract inputs, a batch of one example.
      fits: (list of the returned shapes) -> whether they fit the role.
      wanted: description of what the network should return.
      methods: methods that it must have in addition to `__call__`.
      keywords: keys of `KEYWORDS` that it is called with in addition to `train`.
    """
    if not is_outside(name):
        return
    who = f"{where}={name}"
    if lacking := [method for method in methods if not hasattr(network, method)]:
        raise UserError(f"{who} has no method {lacking[0]!r}: {', '.join(methods)}")
    given = ", ".join(str([*x.shape]) for x in inputs)
    named = ", ".join(["train=False", *(f"{name}={KEYWORDS[name]}" for name in keywords)])

    def call(key: jax.Array, *x: jax.Array) -> Any:
        values = {"keys": jax.random.split(key, 1), "dropout": False}
        given = {name: values[name] for name in keywords}
        return network.init_with_output(key, *x, train=False, **given)[0]

    try:
        found = jax.eval_shape(call, jax.random.key(0), *inputs)
    except UserError:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{who} can't be called as network({given}, {named}): {type(error).__name__}: {first}"
        ) from None
    several = found if isinstance(found, tuple) else (found,)
    arrays = [x for x in several if hasattr(x, "shape") and jnp.issubdtype(x.dtype, jnp.floating)]
    if len(arrays) < len(several):
        raise UserError(f"{who} returns {type(found).__name__} of {given}: {wanted}")
    shapes = [tuple(x.shape) for x in arrays]
    if not fits(shapes):
        said = ", ".join(str([*shape]) for shape in shapes)
        raise UserError(f"{who} returns {said} of {given}: {wanted}")


def check_generator(
    name: str, network: Any, inputs: Inputs, image_shape: tuple, keywords: tuple[str, ...] = ()
) -> None:
    """Raise UserError unless a GAN's or a translator's generator returns images of that shape."""
    check_network(
        "model.gen.name",
        name,
        network,
        inputs,
        fits=lambda shapes: shapes == [(1, *image_shape)],
        wanted=f"images [B, H, W, C], here {[1, *image_shape]}",
        keywords=keywords,
    )


def checked_discriminator(name: str, network: Any, inputs: Inputs) -> nn.Module:
    """Return a discriminator with the method `outputs`; UserError unless it returns logits."""
    check_network(
        "model.disc.name",
        name,
        network,
        inputs,
        fits=lambda shapes: shapes[0] in ((1,), (1, 1)) or len(shapes[0]) == 3,
        wanted="logits [B] or [B, 1], or [B, h, w] of patches",
    )
    return Logits(network) if is_outside(name) and not hasattr(network, "outputs") else network
