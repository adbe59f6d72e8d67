"""Initial weights: of DCGAN (arXiv:1511.06434) and its successors, such as pix2pix; PyTorch's."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

KERNEL_INIT = nn.initializers.normal(0.02)


def scale_init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Draw BatchNorm scales from N(1, 0.02^2), as the published code does."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


# PyTorch's own for convolutions, U(-1/sqrt(fan in), 1/sqrt(fan in)), a third of LeCun's variance.
# Published code of restoration networks keeps it; its biases are drawn alike, ours start at 0.
TORCH_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
