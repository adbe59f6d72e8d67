"""Conversions between colour spaces: luma, studio-swing Y, CIE Lab; all differentiable but bytes'.

Colours are sRGB with values in [-1, 1], as images are everywhere.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
_STUDIO = (65.481, 128.553, 24.966)  # the same in steps of studio swing, of which it has 219
_BLACK = 16.0

# Linear sRGB -> CIE XYZ, and the white point D65 of the 2 degree observer, as in scikit-image.
_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_KNEE = 6 / 29  # of Lab's cube root, which is linear below its cube


def luma(images: jax.Array) -> jax.Array:
    """Return the luma of ITU-R BT.601, unrounded: [B, H, W, 3] -> [B, H, W, 1], in [-1, 1]."""
    return _weighted(images, np.array([_LUMA]))


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


def studio_y(images: jax.Array) -> jax.Array:
    """Return the Y of MATLAB's `rgb2ycbcr`, on which papers on super-resolution measure PSNR.

    Its range is 219 of 255 levels, by which PSNR with a peak of 255 is 1.3 dB higher than on luma.

    Args:
      images: [B, H, W, 3] in [-1, 1].

    Returns:
      [B, H, W, 1] in [16, 235], unrounded; as scikit-image's `rgb2ycbcr`.
    """
    return _weighted((images + 1) / 2, np.array([_STUDIO])) + _BLACK


def rgb_to_lab(images: jax.Array) -> jax.Array:
    """Convert to CIE L*a*b* (D65, 2 degree observer), as scikit-image's `rgb2lab`.

    Args:
      images: [..., 3] in [-1, 1].

    Returns:
      [..., 3]: lightness in [0, 100]; a in [-87, 99] and b in [-108, 95] for sRGB.
    """
    value = (images + 1) / 2
    # Each branch is given values of its own range only: the gradient of the other must be finite.
    power = ((jnp.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4
    linear = jnp.where(value > 0.04045, power, value / 12.92)
    xyz = _weighted(linear, _TO_XYZ / _WHITE[:, None])
    root = jnp.cbrt(jnp.maximum(xyz, _KNEE**3))
    x, y, z = jnp.moveaxis(jnp.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29), -1, 0)
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_rgb(lab: jax.Array) -> jax.Array:
    """Convert from CIE L*a*b*: the inverse of `rgb_to_lab`.

    Args:
      lab: [..., 3].

    Returns:
      [..., 3], in [-1, 1] for colours that sRGB has; not clipped, so that others have a gradient.
    """
    lightness, a, b = jnp.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    root = jnp.stack([y + a / 500, y, y - b / 200], -1)
    xyz = jnp.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))
    linear = _weighted(xyz, np.linalg.inv(_TO_XYZ) * _WHITE)
    power = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return 2 * jnp.where(linear > 0.0031308, power, 12.92 * linear) - 1


def _weighted(values: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply the last axis [..., 3] by a matrix [n, 3] in full precision: [..., n]."""
    return jnp.matmul(values, jnp.asarray(matrix.T, values.dtype), precision="highest")
