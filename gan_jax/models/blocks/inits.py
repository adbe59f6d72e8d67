"""The initial weights of DCGAN (arXiv:1511.06434) and its successors, such as pix2pix."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

KERNEL_INIT = nn.initializers.normal(0.02)


def scale_init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Draw BatchNorm scales from N(1, 0.02^2), as the published code does."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)
