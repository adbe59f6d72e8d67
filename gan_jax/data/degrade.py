"""Degradations: how the inputs of a restoration network are made from clean images.

Pairs are made on the device while training and evaluation run, so that any source of images will
do. What is random depends on the example's key only: an example is degraded alike in any batch, on
any device, in any process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError, check_choice
from gan_jax.data.masks import rectangles, strokes
from gan_jax.ops.colour import grey_bytes
from gan_jax.ops.jpeg import compress
from gan_jax.ops.resample import FILTERS, apply_weights, resample_bytes

MASKS = ("rectangles", "free-form", "both")


@dataclasses.dataclass(frozen=True)
class Degradation:
    """How inputs are made from clean images.

    Attributes:
      help: what it does, a phrase for people.
      protocol: a short name with its parameters, such as "x2" or "sigma25"; part of metric names.
      apply: (images [B, H, W, C] float32 in [-1, 1], typed PRNG keys [B]) -> inputs
        [B, H / scale, W / scale, channels(C)] float32. Pure, and can be compiled.
      scale: side of the clean image relative to the input's.
      margin: how far from its edge an input still differs from that of a larger image, for lack of
        neighbours [px of the clean image].
      channels: channels of the clean image -> channels of the input.
    """

    help: str
    protocol: str
    apply: Callable[[jax.Array, jax.Array], jax.Array]
    scale: int = 1
    margin: int = 0
    channels: Callable[[int], int] = lambda channels: channels


def downscale(*, scale: int = 2, filter: str = "bicubic") -> Degradation:
    """Shrink images as Pillow does, antialiased and rounded to 8 bits like a file.

    MATLAB's `imresize`, with which published benchmarks were made, differs from Pillow at image
    borders and in rounding only; TensorFlow's and OpenCV's defaults have no antialiasing.

    Args:
      scale: factor by which both sides shrink, at least 2; it must divide the sides.
      filter: "bicubic", or another of `ops.resample`.
    """
    if scale < 2:
        raise UserError(f"downscale: scale={scale}: must be at least 2")
    check_choice("downscale: filter", filter, FILTERS)

    def apply(images: jax.Array, keys: jax.Array) -> jax.Array:
        height, width = images.shape[1:3]
        if height % scale or width % scale:
            near = [max(side // scale, 1) * scale for side in (height, width)]
            raise UserError(
                f"downscale: scale={scale} does not divide images of {height}x{width} px: crop or"
                f" resize them, such as to {near[0]}x{near[1]}"
            )
        small = (height // scale, width // scale)
        return _from_bytes(resample_bytes(_to_bytes(images), small, filter))

    named = "" if filter == "bicubic" else f"-{filter}"
    help = f"{scale} times smaller, by Pillow's {filter} filter"
    margin = 3 * scale  # that of Lanczos, the widest
    return Degradation(help, f"x{scale}{named}", apply, scale=scale, margin=margin)


def noise(*, sigma: float = 25.0, sigma_max: float = 0.0) -> Degradation:
    """Add Gaussian noise that is neither clipped nor rounded, as the literature of denoising does.

    Clipping would make another task: black and white would have no negative and positive noise.

    Args:
      sigma: standard deviation, in grey levels of [0, 255].
      sigma_max: 0; or, for blind denoising, the upper bound of a standard deviation that is drawn
        for each image, uniform from `sigma` on.
    """
    if sigma < 0 or (sigma_max and sigma_max <= sigma):
        raise UserError(
            f"noise: sigma={sigma:g}, sigma_max={sigma_max:g}: sigma must not be negative, and"
            " sigma_max 0 or above sigma"
        )

    def apply(images: jax.Array, keys: jax.Array) -> jax.Array:
        level_keys, noise_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), -1, 0)
        return images + _noise(images, noise_keys, _uniform(level_keys, sigma, sigma_max))

    span = _span(sigma, sigma_max)
    return Degradation(f"Gaussian noise of sigma {span} of 255", f"sigma{span}", apply)


def jpeg(*, quality: int = 10, quality_max: int = 0) -> Degradation:
    """Compress images as Pillow's baseline JPEG does, with 4:2:0 chroma: see `ops.jpeg`.

    Args:
      quality: in [1, 100]; 10 is that of the literature on artefacts.
      quality_max: 0; or, for blind restoration, the upper bound of a quality that is drawn for each
        image, uniform from `quality` on.
    """
    if not 1 <= quality <= 100 or (quality_max and not quality < quality_max <= 100):
        raise UserError(
            f"jpeg: quality={quality}, quality_max={quality_max}: must be in 1 to 100, and"
            " quality_max 0 or above quality"
        )

    def apply(images: jax.Array, keys: jax.Array) -> jax.Array:
        _check_channels("jpeg", images, (1, 3))
        drawn = jnp.full(len(images), quality)
        if quality_max:
            one = lambda key: jax.random.randint(key, (), quality, quality_max + 1)  # noqa: E731
            drawn = jax.vmap(one)(keys)
        return _from_bytes(compress(_to_bytes(images), drawn))

    span = _span(quality, quality_max)
    return Degradation(f"JPEG of quality {span}", f"jpeg{span}", apply)


def blur(*, sigma: float = 1.6, noise: float = 0.0) -> Degradation:
    """Blur images by a Gaussian, reflecting them at their borders.

    Args:
      sigma: of the Gaussian [px], cut off at 4 sigma.
      noise: standard deviation of Gaussian noise that is added, in grey levels of [0, 255]. 0
        rounds the result to 8 bits like a file: without rounding or noise, the blur could be
        undone exactly.
    """
    if sigma <= 0 or noise < 0:
        raise UserError(
            f"blur: sigma={sigma:g}, noise={noise:g}: sigma must be positive, noise not negative"
        )

    def apply(images: jax.Array, keys: jax.Array) -> jax.Array:
        blurred = apply_weights(images, *(_gaussian(n, sigma) for n in images.shape[1:3]))
        if not noise:
            return _from_bytes(_to_bytes(blurred))
        return blurred + _noise(images, keys, jnp.full(len(images), noise))

    added = f"-sigma{noise:g}" if noise else ""
    help = f"blurred by a Gaussian of {sigma:g} px"
    return Degradation(help, f"blur{sigma:g}{added}", apply, margin=int(4 * sigma + 0.5))


def grey() -> Degradation:
    """Keep the luma of ITU-R BT.601 only, as Pillow's mode "L": the input of colourisation."""

    def apply(images: jax.Array, keys: jax.Array) -> jax.Array:
        _check_channels("grey", images, (3,))
        return _from_bytes(grey_bytes(_to_bytes(images)))

    return Degradation("grey", "grey", apply, channels=lambda channels: 1)


def mask(*, kind: str = "both", least: float = 0.1, most: float = 0.3) -> Degradation:
    """Cut holes into images: the input of inpainting.

    The input's last channel is the mask, 1 where the image is to be filled in and -1 where it is
    known. Pixels to be filled in are 0 in the other channels.

    Args:
      kind: "rectangles", one in each image; "free-form", brush strokes; "both", either of them with
        probability 1/2. See `data.masks`.
      least, most: bounds of a rectangle's share of the area, uniform between them.
    """
    check_choice("mask: kind", kind, MASKS)
    if not 0 < least <= most < 1:
        raise UserError(
            f"mask: least={least:g}, most={most:g}: shares of the area must be above 0 and below 1,"
            " least not above most"
        )

    def holes(keys: jax.Array, size: tuple[int, int]) -> jax.Array:
        if kind == "rectangles":
            return rectangles(keys, size, least=least, most=most)
        if kind == "free-form":
            return strokes(keys, size)
        which, keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), -1, 0)
        choice = jax.vmap(jax.random.bernoulli)(which)[:, None, None]
        return jnp.where(
            choice, rectangles(keys, size, least=least, most=most), strokes(keys, size)
        )

    def apply(images: jax.Array, keys: jax.Array) -> jax.Array:
        hole = holes(keys, images.shape[1:3])[..., None]
        return jnp.concatenate([jnp.where(hole, 0, images), jnp.where(hole, 1.0, -1.0)], -1)

    shares = "" if kind == "free-form" else f"{100 * least:g}-{100 * most:g}"
    protocol = {"rectangles": "rectangles", "free-form": "free-form", "both": "masks"}[kind]
    help = {"rectangles": "a rectangle", "free-form": "brush strokes", "both": "holes"}[kind]
    return Degradation(
        f"{help} to be filled in",
        f"{protocol}{shares}",
        apply,
        channels=lambda channels: channels + 1,
    )


DEGRADATIONS = Choice(
    {
        "downscale": downscale,
        "noise": noise,
        "jpeg": jpeg,
        "blur": blur,
        "grey": grey,
        "mask": mask,
    },
    returns=Degradation,
)


def _to_bytes(images: jax.Array) -> jax.Array:
    """Map [-1, 1] (clipped) to whole grey levels in [0, 255], float32."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255)


def _from_bytes(levels: jax.Array) -> jax.Array:
    """Map grey levels [0, 255] to float32 [-1, 1], as `core.images.to_float`."""
    return levels.astype(jnp.float32) * np.float32(2 / 255) - np.float32(1)


def _check_channels(name: str, images: jax.Array, allowed: tuple[int, ...]) -> None:
    there = images.shape[-1]
    if there not in allowed:
        raise UserError(
            f"{name}: images have {there} channels, must be {' or '.join(map(str, allowed))}: set"
            f" data.channels={allowed[-1]}"
        )


def _noise(images: jax.Array, keys: jax.Array, sigmas: jax.Array) -> jax.Array:
    """Draw Gaussian noise [B, H, W, C] of standard deviations [B] in grey levels."""
    draws = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
    return draws * (sigmas / 127.5)[:, None, None, None]


def _uniform(keys: jax.Array, low: float, high: float) -> jax.Array:
    """Draw a number in [low, high) for each key; `low` if high is 0."""
    if not high:
        return jnp.full(len(keys), low, jnp.float32)
    return jax.vmap(lambda key: jax.random.uniform(key, minval=low, maxval=high))(keys)


def _span(low: float, high: float) -> str:
    return f"{low:g}-{high:g}" if high else f"{low:g}"


def _gaussian(size: int, sigma: float) -> np.ndarray:
    """Return the weights [size, size] of a Gaussian blur along an axis.

    Beyond the edges the image is mirrored, the edge pixel included. Equal to scipy.ndimage's
    `gaussian_filter1d` with its defaults.
    """
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    values = np.exp(-0.5 * (offsets / sigma) ** 2)
    places = (np.arange(size)[:, None] + offsets) % (2 * size)
    places = np.minimum(places, 2 * size - 1 - places)
    weights = np.zeros((size, size))
    np.add.at(weights, (np.arange(size)[:, None], places), values / values.sum())
    return weights
