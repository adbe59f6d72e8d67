"""Similarity of images to their references: PSNR and SSIM, one value per image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.ops.colour import rgb_to_lab

_RANGE = 2.0  # of images in [-1, 1]
WINDOW = 11  # [px]
_SIGMA = 1.5


def psnr(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the peak signal-to-noise ratio of each image.

    Args:
      prediction: [B, H, W, C] in [-1, 1].
      target: the same shape.

    Returns:
      [B], decibels, over all pixels and channels; infinite for equal images.
    """
    _check(prediction, target)
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return 10 * jnp.log10(_RANGE**2 / jnp.square(difference).mean((1, 2, 3)))


def masked_psnr(*, prediction: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the peak signal-to-noise ratio of each image over the pixels of a mask.

    Args:
      prediction: [B, H, W, C] in [-1, 1].
      target: the same shape.
      mask: [B, H, W, 1], true for the pixels that count; at least one in each image.

    Returns:
      [B], decibels, over these pixels and all channels.
    """
    _check(prediction, target)
    difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    weight = jnp.broadcast_to(mask, target.shape).astype(jnp.float32)
    error = (weight * jnp.square(difference)).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    return 10 * jnp.log10(_RANGE**2 / error)


def chroma_distance(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean distance in a and b of CIE Lab of each image, for colourisation.

    Args:
      prediction: [B, H, W, 3] in [-1, 1].
      target: the same shape.

    Returns:
      [B], the mean over pixels of the Euclidean distance; 0 for equal colours, and for a grey image
      the mean chroma of the target.
    """
    _check(prediction, target)
    a, b = (rgb_to_lab(x.astype(jnp.float32))[..., 1:] for x in (prediction, target))
    return jnp.sqrt(jnp.square(a - b).sum(-1)).mean((1, 2))


def ssim(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the structural similarity of each image (Wang et al. 2004).

    doi:10.1109/TIP.2003.819861: an 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03,
    without padding. Images are mapped to [0, 1], since the luminance term compares ratios and black
    must be zero. Equal to skimage.metrics.structural_similarity(
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1)
    of (x + 1) / 2. Deviation: the authors' program takes grey images and downsamples large ones;
    this one averages over channels and never downsamples.

    Args:
      prediction: [B, H, W, C] in [-1, 1], H and W at least 11.
      target: the same shape.

    Returns:
      [B] in [-1, 1], 1 for equal images; the mean over windows and channels.

    Raises:
      UserError: for images below 11 px.
    """
    _check(prediction, target)
    height, width = prediction.shape[1:3]
    if min(height, width) < WINDOW:
        raise UserError(
            f"ssim: images of {height}x{width} px, at least {WINDOW}x{WINDOW} needed for its"
            " window: use psnr, or larger images"
        )
    luminance, contrast = ssim_maps(prediction, target)
    return (luminance * contrast).mean((1, 2, 3))


def ssim_maps(prediction: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the two factors of SSIM at each position of its window.

    Args:
      prediction: [B, H, W, C] in [-1, 1], H and W at least 11.
      target: the same shape.

    Returns:
      Luminance, and contrast times structure (Wang et al. 2004, eq. 6, and 9 times 10), each
      [B, H - 10, W - 10, C].
    """
    x, y = ((image.astype(jnp.float32) + 1) / 2 for image in (prediction, target))
    rows, columns = (_window_matrix(size) for size in prediction.shape[1:3])

    def window_mean(image: jax.Array) -> jax.Array:
        image = jnp.einsum("ih,bhwc->biwc", rows, image, precision="highest")
        return jnp.einsum("jw,biwc->bijc", columns, image, precision="highest")

    mean_x, mean_y = window_mean(x), window_mean(y)
    var_x = window_mean(x * x) - mean_x * mean_x
    var_y = window_mean(y * y) - mean_y * mean_y
    covariance = window_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def _window_matrix(size: int) -> np.ndarray:
    """Return the Gaussian window at all positions as a matrix [size - 10, size]."""
    taps = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / _SIGMA) ** 2)
    matrix = np.zeros((size - WINDOW + 1, size), np.float32)
    for row in range(len(matrix)):
        matrix[row, row : row + WINDOW] = taps / taps.sum()
    return matrix


def _check(prediction: jax.Array, target: jax.Array) -> None:
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must agree")
