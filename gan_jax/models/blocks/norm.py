"""Normalisation by batch statistics, synchronised over devices, and by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.blocks.layers import Dense
from gan_jax.models.blocks.wide import affine, entries, widen
from gan_jax.parallel.axes import axis_mean

Initializer = nn.initializers.Initializer


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the last (arXiv:1502.03167).

    The statistics are those of the whole batch, under jit and pmap alike, in float32 and with one
    reduction per layer. The running variance is the biased one, as in Flax; PyTorch's is
    n / (n - 1) times that.

    Attributes:
      momentum: share of the old running statistics that is kept; 0.9 is PyTorch's 0.1.
      epsilon: added to the variance.
      scale_init: of the scale; the bias starts at 0.
      num_classes: 0; or, for conditional BatchNorm, the number of classes, each with a scale and a
        bias of its own over shared statistics (arXiv:1610.07629, per batch rather than per image).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    num_classes: int = 0

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        labels: jax.Array | None = None,
        *,
        modulation: tuple[jax.Array, jax.Array] | None = None,
        train: bool,
    ) -> jax.Array:
        """Normalise x [..., C].

        Args:
          x: activations; [B, H, W, C] with num_classes or modulation.
          labels: int [B], or weights [B, num_classes], see `soft_labels`; only with num_classes.
          modulation: (scale, bias) of each image, [B, C] each, in place of parameters.
          train: True uses the statistics of this batch and moves the running ones (collection
            "batch_stats"); False uses the running ones.
        """
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if train:
            axes = tuple(range(x.ndim - 1))
            wide = widen(x)
            # Stacked, for one reduction per layer.
            mean, square = axis_mean(jnp.stack([wide.mean(axes), jnp.square(wide).mean(axes)]))
            var = square - jnp.square(mean)
            # Not `jnp.maximum`: its gradient compares for equality, see `layers.max_pool`.
            var = jnp.where(var > 0, var, 0)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        else:
            mean, var = running_mean.value, running_var.value
        if modulation is None:
            table = (self.num_classes, *shape) if self.num_classes else shape
            scale = self.param("scale", self.scale_init, table, jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, table, jnp.float32)
            if self.num_classes:
                modulation = (entries(scale, labels), entries(bias, labels))
        if modulation is not None:
            scale, bias = (widen(each)[:, None, None] for each in modulation)
        # One multiplication and one addition per value: the rest is per channel (and image).
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return affine(x, scale=factor, offset=bias - mean * factor)


class ModulatedBatchNorm(nn.Module):
    """BatchNorm whose scale and bias are linear in a per-image condition vector.

    BigGAN's form of conditional BatchNorm (Brock et al. 2018, arXiv:1809.11096, appendix B): the
    vector is a class embedding concatenated with a part of the latents, and the scale is 1 plus the
    projection.

    Attributes:
      dense: constructor of the two projections, which have no bias.
      kernel_init: of the projections.
    """

    dense: Callable[..., nn.Module] = Dense
    kernel_init: Initializer = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, *, train: bool) -> jax.Array:
        """Normalise x [B, H, W, C], given condition [B, K]; `train` as in BatchNorm."""
        scale, bias = (
            self.dense(x.shape[-1], use_bias=False, kernel_init=self.kernel_init, name=name)
            for name in ("scale", "bias")
        )
        modulation = (1 + scale(condition), bias(condition))
        return BatchNorm(name="norm")(x, modulation=modulation, train=train)


class InstanceNorm(nn.Module):
    """Normalise each channel of each image by itself (arXiv:1607.08022), then scale and shift.

    Attributes:
      epsilon: added to the variance.
      learnt: whether to scale and shift.
    """

    epsilon: float = 1e-5
    learnt: bool = True

    axes: ClassVar[tuple[int, ...] | None] = (1, 2)  # None: all but the batch's

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise x [B, H, W, C]."""
        shape, axes = (x.shape[-1],), self.axes or tuple(range(1, x.ndim))
        wide = widen(x)
        mean = wide.mean(axes, keepdims=True)
        var = jnp.square(wide - mean).mean(axes, keepdims=True)
        normalised = (wide - mean) * jax.lax.rsqrt(var + self.epsilon)
        if self.learnt:
            scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
            normalised *= scale
            normalised += self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        return normalised.astype(x.dtype)


class LayerNorm(InstanceNorm):
    """Normalise each image over H, W and C (arXiv:1607.06450), then scale and shift each channel.

    Activations of dense layers, [B, C], are normalised over C.

    It does not mix images, so it works with a gradient penalty (arXiv:1704.00028, section 4).
    """

    axes = None
