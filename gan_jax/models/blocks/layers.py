"""Flax layers: convolutions (of `ops.convolution`), dense, embeddings, pooling, up-sampling."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.typing import DTypeLike

from gan_jax.models.blocks.wide import affine, entries, widen
from gan_jax.ops.convolution import Padding, Pair, conv2d, conv2d_transpose, pair

Initializer = Callable[..., Array]


def max_pool(x: Array, window: int = 2) -> Array:
    """Take maxima over window x window blocks: [B, H, W, C] -> [B, H // window, W // window, C].

    Rows and columns that fill no block are left out ('VALID'); of tied entries, the first gets the
    gradient. The gradient of `jnp.max` compares entries with the maximum for equality: if the
    compiler computes them twice and rounds differently, none is equal and the gradient is 0 / 0.
    Selections are safe, and faster.
    """
    blocks = _blocks(x, window)
    views = [blocks[:, :, i, :, j] for i in range(window) for j in range(window)]
    return functools.reduce(lambda a, b: jnp.where(a >= b, a, b), views)


def avg_pool(x: Array, window: int = 2) -> Array:
    """Average over window x window blocks; sizes as `max_pool`."""
    return _blocks(x, window).mean((2, 4))


def _blocks(x: Array, window: int) -> Array:
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    if min(rows, columns) < 1:
        raise ValueError(f"a window of {window} pixels does not fit into {height} x {width}.")
    x = x[:, : rows * window, : columns * window]
    return x.reshape(batch, rows, window, columns, window, channels)


def upsample(x: Array) -> Array:
    """Repeat each pixel 2 x 2 times: [B, H, W, C] -> [B, 2 H, 2 W, C]."""
    batch, height, width, channels = x.shape
    shape = (batch, height, 2, width, 2, channels)
    made = jnp.broadcast_to(widen(x)[:, :, None, :, None], shape)
    return made.reshape(batch, 2 * height, 2 * width, channels).astype(x.dtype)


class Conv(nn.Module):
    """Convolution with `conv2d`'s arguments; parameters kernel [kh, kw, C, features] and bias.

    Attributes:
      features: channels of the output.
      dtype: of the computation; parameters stay float32. None takes the common dtype of inputs and
        parameters.
    """

    features: int
    kernel_size: int | Pair = (3, 3)
    strides: int | Pair = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None

    function: ClassVar[Callable[..., Array]] = staticmethod(conv2d)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H', W', features]."""
        shape = (*pair(self.kernel_size, "kernel_size"), x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        y = self.function(x, kernel, strides=self.strides, padding=self.padding)
        if not self.use_bias:
            return y
        return affine(y, offset=self.param("bias", self.bias_init, shape[-1:], jnp.float32))


class ConvTranspose(Conv):
    """Transposed convolution with `conv2d_transpose`'s arguments; otherwise as `Conv`."""

    function: ClassVar[Callable[..., Array]] = staticmethod(conv2d_transpose)


class Dense(nn.Module):
    """Matrix product of the last axis; parameters kernel [inputs, features] and bias.

    Parameters and results are those of `flax.linen.Dense`, whose bias gradient is summed in
    bfloat16 if activations are bfloat16, see `wide.py`.

    Attributes:
      features: of the output.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., inputs] to [..., features]."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = jnp.tensordot(*promote_dtype(x, kernel), 1)
        if not self.use_bias:
            return y
        return affine(y, offset=self.param("bias", self.bias_init, shape[-1:], jnp.float32))


class Embed(nn.Module):
    """A vector per class; parameter embedding [num_embeddings, features].

    Parameters and results are those of `flax.linen.Embed`, whose gradients are summed in bfloat16
    if parameters are bfloat16.

    Attributes:
      num_embeddings: number of classes.
      features: dimensions of a vector.
    """

    num_embeddings: int
    features: int
    embedding_init: Initializer = nn.initializers.variance_scaling(
        1.0, "fan_in", "normal", out_axis=0
    )

    @nn.compact
    def __call__(self, labels: Array) -> Array:
        """Map labels, int [B] or weights [B, num_embeddings], to vectors [B, features]."""
        shape = (self.num_embeddings, self.features)
        table = self.param("embedding", self.embedding_init, shape, jnp.float32)
        return entries(table, labels)
