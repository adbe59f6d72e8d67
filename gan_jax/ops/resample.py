"""Resampling of images on the device, equal to Pillow's: antialiased when it shrinks an image.

A filter without antialiasing, which is the default of TensorFlow and OpenCV, makes other pairs for
super-resolution and other PSNRs. All filters are linear and separable: the weights along an axis
are a matrix [out, in], built on the host during tracing.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import check_choice

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
FILTERS = ("nearest", *_FILTERS)


def pillow_weights(size: int, out: int, filter: str, box: Box | None = None) -> np.ndarray:
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
    check_choice("resize", filter, FILTERS)
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


def resample(images: jax.Array, size: tuple[int, int], filter: str) -> jax.Array:
    """Resize images as Pillow resizes planes of floats (mode "F").

    Args:
      images: [B, H, W, C], of any range; results of filters with negative lobes (bicubic, lanczos)
        may exceed it.
      size: (height, width) of the result [px].
      filter: "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos".

    Returns:
      [B, *size, C] float32, not clipped.
    """
    return apply_weights(images, *_weights(images, size, filter))


def resample_bytes(images: jax.Array, size: tuple[int, int], filter: str) -> jax.Array:
    """Resize images of grey levels, bit-identical to Pillow's results for bytes.

    Args:
      images: [B, H, W, C] whole numbers in [0, 255], of any type.
      size: (height, width) of the result [px].
      filter: as in `resample`.

    Returns:
      uint8 [B, *size, C]. One exception to bit-identity: Pillow 13 and later resizes along the
      columns first if the height shrinks much more than the width, which differs where the
      intermediate result is clipped.
    """
    return apply_weights_to_bytes(images, *_weights(images, size, filter))


def upscaling_reach(scale: int, filter: str, margin: int) -> int:
    """Return how far the enlarged form of a pixel, and a margin around it, depend on others.

    Args:
      scale: factor by which `filter` enlarges both sides.
      filter: as in `resample`.
      margin: around the scale x scale results that lie within the pixel [px of the result].

    Returns:
      The distance to the farthest input pixel with a weight [px of the input].
    """
    middle = margin // scale + 4  # far enough from the edges for every filter
    weights = pillow_weights(2 * middle + 1, scale * (2 * middle + 1), filter)
    rows = weights[scale * middle - margin : scale * (middle + 1) + margin]
    used = np.flatnonzero(np.abs(rows).max(0) > 1e-9)  # a zero of the filter is so up to rounding
    return int(np.abs(used - middle).max())


def _weights(images: jax.Array, size: tuple[int, int], filter: str) -> tuple[np.ndarray, ...]:
    pairs = zip(images.shape[1:3], size, strict=True)
    return tuple(pillow_weights(n, m, filter) for n, m in pairs)


def apply_weights(images: jax.Array, vertical: np.ndarray, horizontal: np.ndarray) -> jax.Array:
    """Resize along rows, then along columns, in float32.

    Args:
      images: [B, H, W, C].
      vertical: weights [H', H] along the columns of an image.
      horizontal: weights [W', W] along its rows.

    Returns:
      [B, H', W', C] float32.
    """
    return _along_both(images, vertical, horizontal, _float_product)


def apply_weights_to_bytes(
    images: jax.Array, vertical: np.ndarray, horizontal: np.ndarray
) -> jax.Array:
    """Resize along rows, then along columns, rounding to bytes after each as Pillow does.

    Args:
      images: [B, H, W, C] whole numbers in [0, 255].
      vertical: weights [H', H] along the columns of an image.
      horizontal: weights [W', W] along its rows.

    Returns:
      uint8 [B, H', W', C].
    """
    return _along_both(images, vertical, horizontal, _byte_product).astype(jnp.uint8)


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
