"""Image corruptions for measuring a discriminator's robustness: noise, blur, JPEG, PGD.

Images are [B, H, W, C] float32 in [-1, 1], before and after.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gan_jax.core.images import to_float, to_uint8

REACH = 4.0  # truncation of the blur kernel [standard deviations], as in scipy


def gaussian_noise(images: jax.Array, keys: jax.Array, sigma: float) -> jax.Array:
    """Add normal noise to every pixel and channel, and clip to [-1, 1].

    Args:
      images: [B, H, W, C].
      keys: typed PRNG keys [B]; a different sigma scales the same noise.
      sigma: standard deviation in the [-1, 1] scale; 2 / 255 is one grey level.
    """
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
    return jnp.clip(images + sigma * noise, -1, 1)


def gaussian_blur(images: jax.Array, sigma: float) -> jax.Array:
    """Convolve each channel with a Gaussian kernel, with mirrored borders.

    Args:
      images: [B, H, W, C].
      sigma: standard deviation [px].
    """
    rows, columns = (_blur_matrix(size, sigma) for size in images.shape[1:3])
    return jnp.einsum("hi,wj,bijc->bhwc", rows, columns, images, precision="highest")


def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    """Return the blur of a row of `size` pixels as a matrix, [size, size]."""
    reach = int(REACH * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    source = np.pad(np.arange(size), reach, mode="symmetric")
    matrix = np.zeros((size, size), np.float32)
    for i in range(size):
        np.add.at(matrix[i], source[i : i + len(weights)], weights)
    return matrix


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    """Compress and decompress images with Pillow's JPEG, on the host.

    Args:
      images: [B, H, W, C] with 1 or 3 channels. They are rounded to 256 grey levels; chroma is
        subsampled by 2, Pillow's default.
      quality: 1 to 95.
    """
    return to_float(np.stack([_through_jpeg(image, quality) for image in to_uint8(images)]))


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


def pgd(
    gradient: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    keys: jax.Array,
    *,
    radius: float,
    steps: int,
    up: bool,
) -> jax.Array:
    """Maximise or minimise a function of each image by projected gradient descent (L-infinity).

    Madry et al. 2018 (arXiv:1706.06083, section 2.1, equation 2.2), with one random start in the
    ball and a step size of 2.5 radius / steps (their rule in section 5), enough to cross the ball.

    Args:
      gradient: images -> gradient of the function with respect to each image, [B, H, W, C].
      images: the centres of the balls.
      keys: typed PRNG keys [B] for the random starts.
      radius: largest change of a pixel, in the [-1, 1] scale; 2 / 255 is one grey level.
      steps: number of steps, at least 1.
      up: True to maximise, False to minimise.
    """
    low, high = jnp.maximum(images - radius, -1), jnp.minimum(images + radius, 1)
    size = (2.5 if up else -2.5) * radius / steps

    def start(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, images.shape[1:], minval=-radius, maxval=radius)

    moved = jnp.clip(images + jax.vmap(start)(keys), low, high)
    for _ in range(steps):
        moved = jnp.clip(moved + size * jnp.sign(gradient(moved)), low, high)
    return moved
