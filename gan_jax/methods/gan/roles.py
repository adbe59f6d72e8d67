"""What a network must take and return in a role: of its own kind, or of one's own package.

`gan_jax/methods/README.md` has the table.

A discriminator without `outputs`, a plain module that returns logits, is taken for one that shows
no features and has no heads.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.heads import Outputs


class Logits(nn.Module):
    """A discriminator around a plain module that returns logits."""

    module: nn.Module

    def __call__(self, images: jax.Array, *labels: jax.Array, train: bool) -> jax.Array:
        """Return logits [B]."""
        return self.outputs(images, *labels, train=train).logits

    @nn.compact
    def outputs(self, images: jax.Array, *labels: jax.Array, train: bool) -> Outputs:
        """Return the logits, and no features or heads."""
        logits = self.module(images, *labels, train=train)
        return Outputs(logits[:, 0] if logits.ndim == 2 else logits)


def as_discriminator(network: nn.Module) -> nn.Module:
    """Return a discriminator that has the method `outputs`."""
    return network if hasattr(network, "outputs") else Logits(network)


def check_generator(where: str, network: Any, inputs: tuple, image_shape: tuple) -> None:
    """Raise UserError unless a network returns images of that shape.

    Args:
      where: the field that named it.
      network: what its factory returned.
      inputs: abstract inputs of one image.
      image_shape: (height, width, channels).
    """
    found = _shape(where, network, inputs, "latents [B, D]")
    if found != (1, *image_shape):
        raise UserError(
            f"{where} returns {list(found)} of one latent vector: images [B, H, W, C], here"
            f" {[1, *image_shape]}"
        )


def check_discriminator(where: str, network: Any, inputs: tuple) -> None:
    """Raise UserError unless a network returns a logit, or one a patch, of an image."""
    found = _shape(where, network, inputs, "images [B, H, W, C]")
    if found not in ((1,), (1, 1)) and (len(found) != 3 or found[0] != 1):
        raise UserError(
            f"{where} returns {list(found)} of one image: logits [B] or [B, 1], or [B, h, w] of"
            " patches"
        )


def _shape(where: str, network: Any, inputs: tuple, what: str) -> tuple[int, ...]:
    if not isinstance(network, nn.Module):
        raise UserError(f"{where} returned {network!r:.60}: a flax.linen Module")
    labels = ", labels [B]" if len(inputs) > 1 else ""

    def call(key: jax.Array, *x: jax.Array) -> Any:
        return network.init_with_output(key, *x, train=False)[0]

    try:
        found = jax.eval_shape(call, jax.random.key(0), *inputs)
    except UserError:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where} can't be called as network({what}{labels}, train=False):"
            f" {type(error).__name__}: {first}"
        ) from None
    if not hasattr(found, "shape") or not jnp.issubdtype(found.dtype, jnp.floating):
        raise UserError(f"{where} returns {type(found).__name__} of {what}: one float array")
    return tuple(found.shape)
