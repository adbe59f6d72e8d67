"""Small distortions and noise on the inputs of a semi-supervised discriminator.

Without them the few labelled images are memorised, and real and generated images are so easy to
distinguish that little is learnt from unlabelled images.

affine: random shifts, scales and rotations as in `configs/classifier.py`. noise: normal, with the
standard deviation of the noise in front of the first layer in the discriminator of Salimans et al.
2016 (arXiv:1606.03498, the authors' code for MNIST).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.augment.geometric import random_affine

DEGREES, SCALE, SHIFT = 12.0, 0.1, 2.0  # limits [degrees, share, px]
NOISE = 0.6  # standard deviation in the [-1, 1] scale; 0.3 of their images in [0, 1]
PARTS = ("affine", "noise")


def distortion(images: jax.Array, keys: jax.Array, parts: tuple[str, ...]) -> jax.Array:
    """Augment each image at random.

    Args:
      images: [B, H, W, C] in [-1, 1].
      keys: typed PRNG keys [B], used for nothing else.
      parts: a selection of PARTS, applied in that order.

    Returns:
      [B, H, W, C]; with noise, pixels leave [-1, 1].
    """
    affine_keys, noise_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    if "affine" in parts:
        limits = dict(max_degrees=DEGREES, max_scale=SCALE, max_shift_pixels=SHIFT)
        images = random_affine(images, affine_keys, **limits)
    if "noise" in parts:
        draw = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))
        images = images + NOISE * draw(noise_keys)
    return images
