"""Conversions between colour spaces."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def grey_bytes(images: jax.Array) -> jax.Array:
    """Return the luma of ITU-R BT.601 as Pillow's mode "L" has it, bit-identical.

    Args:
      images: [B, H, W, 3], whole numbers in [0, 255], of any type.

    Returns:
      uint8 [B, H, W, 1].
    """
    weights = jnp.array([19595, 38470, 7471], jnp.int32)  # of 2^16
    grey = (images.astype(jnp.int32) * weights).sum(-1, keepdims=True)
    return ((grey + 0x8000) >> 16).astype(jnp.uint8)
