"""Conditioning of a generator on the class and on latents, through its normalisation layers."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.blocks.layers import Dense
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.models.blocks.soft_labels import one_hot
from gan_jax.models.blocks.wide import affine, widen

# Values of `model.gen.conditional`, in addition to "default", which each network defines.
# concat: the one-hot class is appended to the latents (arXiv:1411.1784).
# batch_norm: each BatchNorm has one scale and bias per class (arXiv:1610.07629).
# self_modulation: scales and biases are functions of the latents, and of the class if there is one.
GEN_CONDITIONALS = ("concat", "batch_norm", "self_modulation")
HIDDEN = 32  # units of self-modulation's hidden layer, as in the paper

Normalize = Callable[[jax.Array, str], jax.Array]


class VirtualBatchNorm(nn.Module):
    """Normalise each image by the statistics of a fixed reference batch and its own.

    Salimans et al. 2016 (arXiv:1606.03498, section 3.5, and the authors' code): an image's mean and
    mean square are averaged with those of the reference batch, as one more image of it; the
    reference images are normalised by the reference batch alone. So an image does not depend on the
    others of its batch, neither in training nor in use.

    Attributes:
      reference: size of the reference batch, which comes first in the activations.
      epsilon: added to the variance.
      scale_init: of the scale; the bias starts at 0.
    """

    reference: int
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise x [reference + B, H, W, C]."""
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        wide = widen(x)
        moments = jnp.stack([wide.mean((1, 2)), jnp.square(wide).mean((1, 2))])
        fixed = moments[:, : self.reference].mean(1, keepdims=True)
        count = self.reference + 1
        mixed = (self.reference * fixed + moments[:, self.reference :]) / count
        whole = jnp.broadcast_to(fixed, (2, self.reference, *shape))
        mean, square = jnp.concatenate([whole, mixed], 1)[:, :, None, None]
        factor = scale * jax.lax.rsqrt(jax.nn.relu(square - jnp.square(mean)) + self.epsilon)
        return affine(x, scale=factor, offset=bias - mean * factor)


class Reference(nn.Module):
    """The latents and labels of a generator's reference batch.

    Drawn once, at initialisation, and kept in the collection "reference".

    Attributes:
      size: of the reference batch.
      num_classes: 0 for an unconditional generator.
    """

    size: int
    num_classes: int = 0

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Prepend the reference batch to latents [B, L] and labels, as in `gen_norm`."""

        def start() -> jax.Array:
            key = self.make_rng("params")
            return jax.random.normal(key, (self.size, latents.shape[-1]), jnp.float32)

        kept = self.variable("reference", "latents", start).value.astype(latents.dtype)
        latents = jnp.concatenate([kept, latents])
        if not self.num_classes:
            return latents, labels
        own = jnp.arange(self.size) % self.num_classes
        if jnp.issubdtype(labels.dtype, jnp.floating):
            own = one_hot(own, self.num_classes, labels.dtype)
        return latents, jnp.concatenate([own, labels])


class SelfModulation(nn.Module):
    """BatchNorm whose scale and bias are an MLP's function of each image's latents.

    Chen et al. 2018 (arXiv:1810.01365), with one hidden layer of 32 units. The scale is 1 plus the
    MLP's output; equivalently, in the authors' code the MLP's last bias for it starts at 1.
    Deviation: the class enters one-hot, appended to the latents.
    """

    @nn.compact
    def __call__(self, x: jax.Array, given: jax.Array, *, train: bool) -> jax.Array:
        """Normalise x [B, H, W, C] by the batch, then scale and shift as functions of `given`.

        Args:
          x: activations.
          given: [B, L], latents, with the one-hot class appended if there are classes.
          train: as in `BatchNorm`.
        """
        hidden = nn.relu(Dense(HIDDEN, name="hidden")(given))
        scale, bias = (Dense(x.shape[-1], name=name)(hidden) for name in ("scale", "bias"))
        return BatchNorm(name="norm")(x, modulation=(1 + scale, bias), train=train)


def with_class(latents: jax.Array, labels: jax.Array | None, num_classes: int) -> jax.Array:
    """Return latents [B, L], with the one-hot class appended if there are classes."""
    if not num_classes:
        return latents
    return jnp.concatenate([latents, one_hot(labels, num_classes, latents.dtype)], -1)


def gen_norm(
    conditional: str,
    latents: jax.Array,
    labels: jax.Array | None,
    *,
    num_classes: int,
    train: bool,
    reference: int = 0,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> Normalize:
    """Return (activations, layer name) -> normalised activations; call it in a compact method.

    Args:
      conditional: one of GEN_CONDITIONALS; "batch_norm" is plain BatchNorm without classes.
      latents: [B, L], as the generator was given them.
      labels: int [B], or weights [B, num_classes], see `soft_labels`; only with num_classes.
      num_classes: 0 for an unconditional generator.
      train: use batch statistics and update the running ones.
      reference: images of the reference batch of virtual batch normalisation, which takes the
        place of BatchNorm; 0 for none. Only with "concat", or without classes.
      scale_init: of the scales of BatchNorm.
    """
    if reference:
        return lambda x, name: VirtualBatchNorm(reference, scale_init=scale_init, name=name)(x)
    if conditional == "self_modulation":
        given = with_class(latents, labels, num_classes)
        return lambda x, name: SelfModulation(name=name)(x, given, train=train)
    classes = num_classes if conditional == "batch_norm" else 0
    return lambda x, name: BatchNorm(scale_init=scale_init, num_classes=classes, name=name)(
        x, labels, train=train
    )
