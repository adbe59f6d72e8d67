"""Resizing on the device, equal to the libraries with which published metrics were computed.

The resizing filter alone changes FID by whole points (arXiv:2104.11222, table 2), so each filter
here reproduces an original exactly, and its name is part of the metric name. All filters are linear
and separable: the weights along an axis are a matrix [out, in], built on the host during tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError, check_choice

Box = tuple[float, float]  # start and end of an interval of pixels, fractions of pixels allowed
_FRACTION, _HALF = 22, 11  # fractional bits of Pillow's fixed-point weights, and half of them


def _bicubic(x: np.ndarray) -> np.ndarray:
    inner, outer = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, inner, outer)


# Pillow's filters: half-width, and value at a distance within it.
_FILTERS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "box": (0.5, np.ones_like),
    "bilinear": (1.0, lambda x: 1 - x),
    "hamming": (1.0, lambda x: np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x))),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, lambda x: np.sinc(x) * np.sinc(x / 3)),
}


def pil_matrix(size: int, out: int, filter: str, box: Box | None = None) -> np.ndarray:
    """Return the weights of Pillow's `Image.resize` along one axis.

    When downsampling, the filter is widened by the factor (antialiasing); at the edges, weights
    inside the image are rescaled to sum to 1.

    Args:
      size: input size along the axis [px].
      out: output size along the axis [px].
      filter: "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos".
      box: the interval of the input to use; None for all of it.

    Returns:
      float64 [out, size].
    """
    check_choice("resize", filter, ("nearest", *_FILTERS))
    start, end = np.float32(box or (0, size))
    scale = float(end - start) / out
    centres = float(start) + (np.arange(out) + 0.5) * scale
    if filter == "nearest":
        # Accumulated as in Pillow: rounding decides for centres on the border of two pixels.
        steps = np.cumsum([float(start) + 0.5 * scale, *[scale] * (out - 1)])
        return np.eye(size)[np.minimum(steps.astype(int), size - 1)]
    stretch = max(scale, 1.0)
    support, function = _FILTERS[filter]
    reach = support * stretch
    first = np.maximum((centres - reach + 0.5).astype(int), 0)[:, None]
    last = np.minimum((centres + reach + 0.5).astype(int), size)[:, None]
    pixels = np.arange(size)
    distance = (pixels - centres[:, None] + 0.5) * (1 / stretch)
    # Of two pixels exactly one half-width from a centre, only the one after it counts.
    inside = (distance > -support) & (distance <= support) & (pixels >= first) & (pixels < last)
    weights = np.where(inside, function(np.minimum(np.abs(distance), support)), 0.0)
    return weights / weights.sum(1, keepdims=True)


def tf_legacy_matrix(size: int, out: int) -> np.ndarray:
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


def _float_product(planes: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply rows of pixels: [..., size] float32, matrix [out, size] -> [..., out]."""
    weights = jnp.asarray(matrix.T, jnp.float32)
    return jnp.matmul(planes, weights, precision=jax.lax.Precision.HIGHEST)


def _byte_product(planes: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply as Pillow does for bytes: rounded grey levels, weights in units of 2^-22.

    The integer weights are split into two halves whose products with bytes are summed exactly in
    float32 (for up to 64 pixels under a filter), on any device.
    """
    fixed = matrix * 2.0**_FRACTION
    fixed = np.trunc(fixed + np.copysign(0.5, fixed))
    high = np.rint(fixed / 2.0**_HALF)
    halves = (_float_product(planes, half) for half in (high, fixed - high * 2.0**_HALF))
    coarse, fine = (half.astype(jnp.int32) for half in halves)
    level = ((coarse << _HALF) + fine + (1 << (_FRACTION - 1))) >> _FRACTION
    return jnp.clip(level, 0, 255).astype(jnp.float32)


def _along_both(
    images: jax.Array,
    vertical: np.ndarray,
    horizontal: np.ndarray,
    product: Callable[[jax.Array, np.ndarray], jax.Array],
) -> jax.Array:
    """Resize along rows, then along columns: [B, H, W, C] -> [B, H', W', C] float32."""
    planes = images.transpose(0, 3, 1, 2).astype(jnp.float32)
    if not _is_identity(horizontal):
        planes = product(planes, horizontal)
    planes = planes.swapaxes(2, 3)
    if not _is_identity(vertical):
        planes = product(planes, vertical)
    return planes.transpose(0, 3, 2, 1)


def _is_identity(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))


def _clean(size: int, out: int) -> np.ndarray:
    return pil_matrix(size, out, "bicubic")


RESIZES: dict[str, Callable[[int, int], np.ndarray]] = {
    "clean": _clean,
    "tf_legacy": tf_legacy_matrix,
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
    return jnp.clip(_along_both(images, vertical, horizontal, _float_product), 0, 255)


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
    if there == 3 and channels == 1:  # Pillow's integers for ITU-R BT.601
        weights = jnp.array([19595, 38470, 7471], jnp.int32)
        grey = (images.astype(jnp.int32) * weights).sum(-1, keepdims=True)
        return ((grey + 0x8000) >> 16).astype(jnp.uint8)
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
    matrices = [
        pil_matrix(n, m, how["resize"], box) for n, m, box in zip(there, inner, boxes, strict=True)
    ]
    images = _along_both(images, *matrices, _byte_product).astype(jnp.uint8)
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
