"""Pixel shuffle: channels become pixels (Shi et al. 2016, arXiv:1609.05158)."""

from __future__ import annotations

from jax import Array


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Move factor^2 channels of each pixel into a block of factor x factor pixels.

    Channel c * factor^2 + i * factor + j becomes channel c of the pixel in row i, column j of the
    block, which is PyTorch's order; TensorFlow's `depth_to_space` has c last.

    Args:
      x: [B, H, W, factor^2 * C].
      factor: of both sides.

    Returns:
      [B, factor * H, factor * W, C].
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, height * factor, width * factor, -1)
