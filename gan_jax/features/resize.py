"""Resizing on the device, equal to the libraries with which published metrics were computed.

The resizing filter alone changes FID by whole points (arXiv:2104.11222, table 2), so each protocol
here reproduces an original exactly, and its name is part of the metric name. The filters themselves
are in `gan_jax.ops.resample`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError, check_choice
from gan_jax.ops.colour import grey_bytes
from gan_jax.ops.resample import Box, apply_weights, apply_weights_to_bytes, pillow_weights


def tf_legacy_weights(size: int, out: int) -> np.ndarray:
    """Return the weights of TensorFlow 1's `resize_bilinear(align_corners=False)` along one axis.

    Output pixel i is at input position i * size / out: without half-pixel centres, which shifts the
    image, and without antialiasing. Positions are float32, as in TensorFlow.

    Args:
      size: input size along the axis [px].
      out: output size along the axis [px].

    Returns:
      float64 [out, size].
    """
    position = np.arange(out, dtype=np.float32) * (np.float32(size) / np.float32(out))
    low = position.astype(int)
    share = (position - low.astype(np.float32)).astype(np.float64)
    matrix, rows = np.zeros((out, size)), np.arange(out)
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), share)
    return matrix


def _clean(size: int, out: int) -> np.ndarray:
    return pillow_weights(size, out, "bicubic")


RESIZES: dict[str, Callable[[int, int], np.ndarray]] = {
    "clean": _clean,
    "tf_legacy": tf_legacy_weights,
}


def resize(images: jax.Array, size: tuple[int, int], how: str) -> jax.Array:
    """Resize images by one of the standard protocols.

    Args:
      images: [B, H, W, C], uint8 or float in [0, 255].
      size: (height, width) of the result [px].
      how: "clean" is that of clean-fid (arXiv:2104.11222): Pillow's antialiased bicubic on each
        channel as float, clipped but not rounded. "tf_legacy" is that of the Inception graph of
        2015: bilinear, corners not aligned, without half-pixel centres or antialiasing.

    Returns:
      [B, *size, C] float32 in [0, 255].
    """
    check_choice("resize", how, RESIZES)
    pairs = zip(images.shape[1:3], size, strict=True)
    vertical, horizontal = (RESIZES[how](n, m) for n, m in pairs)
    return jnp.clip(apply_weights(images, vertical, horizontal), 0, 255)


def to_channels(images: jax.Array, channels: int) -> jax.Array:
    """Convert uint8 [B, H, W, 1 | 3 | 4] to `channels`, bit-equal to `core.images.to_channels`."""
    there = images.shape[-1]
    if there == channels:
        return images
    if there == 4:
        wide = images.astype(jnp.int32)
        alpha = wide[..., 3:]
        white = (wide[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return to_channels(white.astype(jnp.uint8), channels)
    if there == 3 and channels == 1:
        return grey_bytes(images)
    colours = jnp.broadcast_to(images, (*images.shape[:3], 3))
    if channels == 3:
        return colours
    return jnp.concatenate([colours, jnp.full_like(images[..., :1], 255)], -1)


def preprocess(images: jax.Array, how: Mapping[str, Any]) -> jax.Array:
    """Preprocess images on the device as `gan_jax.core.images.preprocess` does on the host.

    The results are bit-identical with one exception: Pillow 13 and later resizes along the columns
    first if the height shrinks much more than the width. Intermediate clipping then differs, and so
    may edges between pure black and white.

    Args:
      images: uint8 [B, H, W, C] of any size and number of channels.
      how: `DataSpec.preprocess`, with size, channels, resize and fit.

    Returns:
      uint8 [B, *size, channels].

    Raises:
      UserError: for RGBA images of another size, which Pillow weights by their alpha.
    """
    images = to_channels(images, how["channels"])
    there, size = images.shape[1:3], tuple(how["size"])
    if there == size:
        return images
    if how["channels"] == 4:
        raise UserError(
            f"RGBA images of {there[0]}x{there[1]} px, for a network that sees"
            f" {size[0]}x{size[1]}: give images of that size"
        )
    inner = _contained(there, size) if how["fit"] == "pad" else size
    boxes = _crop_boxes(there, size) if how["fit"] == "crop" else (None, None)
    weights = [
        pillow_weights(n, m, how["resize"], box)
        for n, m, box in zip(there, inner, boxes, strict=True)
    ]
    images = apply_weights_to_bytes(images, *weights)
    before = [round((m - n) / 2) for n, m in zip(inner, size, strict=True)]
    pads = [(b, m - n - b) for b, n, m in zip(before, inner, size, strict=True)]
    return jnp.pad(images, ((0, 0), *pads, (0, 0)), constant_values=255)


def _crop_boxes(there: tuple[int, int], size: tuple[int, int]) -> tuple[Box, Box]:
    """Return the intervals of rows and columns that `ImageOps.fit` keeps."""
    height, width = map(float, there)
    ratio = size[1] / size[0]
    if width / height > ratio:
        width = ratio * height
    elif width / height < ratio:
        height = width / ratio
    starts = ((n - kept) * 0.5 for n, kept in zip(there, (height, width), strict=True))
    return tuple((a, a + kept) for a, kept in zip(starts, (height, width), strict=True))


def _contained(there: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to which `ImageOps.pad` resizes."""
    (height, width), (rows, columns) = there, size
    if width / height > columns / rows:
        rows = max(1, round(height / width * columns))
    elif width / height < columns / rows:
        columns = max(1, round(width / height * rows))
    return rows, columns
