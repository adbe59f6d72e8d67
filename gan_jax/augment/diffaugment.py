"""Differentiable augmentation of the discriminator's inputs: DiffAugment.

Zhao et al. 2020 (arXiv:2006.10738, section 3.2 and the authors' code): the same kinds of random
changes for real and generated images, through which the generator's gradient flows. Every image
draws from its own key.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

TRANSLATION = 1 / 8  # of a side, the largest shift
CUTOUT = 1 / 2  # of a side


def brightness(image: jax.Array, key: jax.Array) -> jax.Array:
    """Add a uniform number in [-0.5, 0.5) to an image [H, W, C]."""
    return image + jax.random.uniform(key) - 0.5


def saturation(image: jax.Array, key: jax.Array) -> jax.Array:
    """Scale each pixel's distance from the mean of its channels by a factor in [0, 2).

    A grey image is unchanged.
    """
    mean = image.mean(-1, keepdims=True)
    return mean + (image - mean) * 2 * jax.random.uniform(key)


def contrast(image: jax.Array, key: jax.Array) -> jax.Array:
    """Scale the difference of all values from the image's mean by a factor in [0.5, 1.5)."""
    mean = image.mean()
    return mean + (image - mean) * (jax.random.uniform(key) + 0.5)


def color(image: jax.Array, key: jax.Array) -> jax.Array:
    """Change brightness, then saturation, then contrast."""
    for i, change in enumerate((brightness, saturation, contrast)):
        image = change(image, jax.random.fold_in(key, i))
    return image


def translation(image: jax.Array, key: jax.Array) -> jax.Array:
    """Shift an image by whole pixels, up to an eighth of each side; fill with 0, mid-grey."""
    most = jnp.array([_share(side, TRANSLATION) for side in image.shape[:2]])
    shift = jax.random.randint(key, (2,), -most, most + 1)
    pads = [_share(side, TRANSLATION) for side in image.shape[:2]]
    padded = jnp.pad(image, [(pad, pad) for pad in pads] + [(0, 0)])
    return jax.lax.dynamic_slice(padded, (*(most - shift), 0), image.shape)


def cutout(image: jax.Array, key: jax.Array) -> jax.Array:
    """Set a rectangle of half of each side to 0, centred anywhere and clipped at the border."""
    sides = jnp.array(image.shape[:2])
    size = jnp.array([_share(side, CUTOUT) for side in image.shape[:2]])
    centre = jax.random.randint(key, (2,), 0, sides + 1 - size % 2)
    inside = [
        (jnp.arange(side) >= c - s // 2) & (jnp.arange(side) < c - s // 2 + s)
        for side, c, s in zip(image.shape[:2], centre, size, strict=True)
    ]
    return jnp.where((inside[0][:, None] & inside[1])[..., None], 0, image)


PARTS = {"color": color, "translation": translation, "cutout": cutout}


def diffaugment(images: jax.Array, keys: jax.Array, parts: tuple[str, ...]) -> jax.Array:
    """Augment each image at random.

    Args:
      images: [B, H, W, C] in [-1, 1].
      keys: typed PRNG keys [B], used for nothing else.
      parts: a selection of PARTS, applied in the order of PARTS.

    Returns:
      [B, H, W, C]; colours may leave [-1, 1], as in the authors' code.
    """

    def each(image: jax.Array, key: jax.Array) -> jax.Array:
        # One key per part, so that its draws do not depend on which other parts are chosen.
        for i, (name, change) in enumerate(PARTS.items()):
            if name in parts:
                image = change(image, jax.random.fold_in(key, i))
        return image.astype(images.dtype)

    return jax.vmap(each)(images, keys)


def _share(side: int, share: float) -> int:
    return int(side * share + 0.5)
