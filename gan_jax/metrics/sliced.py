"""Sliced Wasserstein distance of features, and of patches of Laplacian pyramids."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.metrics.samples import feature_pair

_PATCH = 7  # [px]
_SMALLEST = 16  # smallest size of the last level [px]
_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_BLOCK = 256  # images whose pyramids are computed at a time
_COLUMNS = 16  # directions projected on at a time


def sliced_wasserstein(
    real: jax.Array, fake: jax.Array, *, directions: int = 512, seed: int = 0
) -> float:
    """Return the sliced 1-Wasserstein distance of two sets of vectors.

    Rabin et al. 2011 (doi:10.1007/978-3-642-24785-9_37), with |x - y| as ground cost: the mean over
    random directions on the unit sphere of the mean distance of the sorted projections.

    Args:
      real: [N, D] features.
      fake: [N, D] features.
      directions: number of directions; the error falls with its square root.
      seed: seed of the directions.

    Returns:
      The distance, in units of the features. For two Gaussians of equal covariance it is
      |m - n| E|u_1| with u uniform on the sphere, about |m - n| (2 / (pi D))^(1/2).

    Raises:
      UserError: for different numbers of samples, or `directions` below 1.
      ValueError: for features of different dimensions.
    """
    if directions < 1:
        raise UserError(f"swd: directions={directions}: at least 1")
    real, fake = feature_pair("swd", real, fake)
    if len(real) != len(fake):
        raise UserError(
            f"swd: {len(real)} real and {len(fake)} generated samples: it sorts and compares as"
            " many of each, use the smaller number of both"
        )
    draw = np.random.RandomState(seed)  # same stream in all versions of NumPy
    axes = draw.randn(real.shape[1], directions)
    axes = (axes / np.linalg.norm(axes, axis=0)).astype(np.float32)
    total = 0.0
    for start in range(0, directions, _COLUMNS):
        block = axes[:, start : start + _COLUMNS]
        a, b = (np.sort(rows @ block, axis=0) for rows in (real, fake))
        total += np.abs(a - b).sum(dtype=np.float64)
    return float(total / (len(real) * directions))


def pyramid_distance(
    real: np.ndarray, fake: np.ndarray, *, patches: int = 128, directions: int = 512, seed: int = 0
) -> dict[str, float]:
    """Return the sliced Wasserstein distance of image patches at every scale (ProGAN's metric).

    Karras et al. 2018, arXiv:1710.10196, section 5: from each level of the images' Laplacian
    pyramids, `patches` random patches of 7x7 pixels per image are drawn, normalised by the mean and
    standard deviation of each channel over their set, and compared along 512 random directions. The
    paper uses 16,384 real and generated images and reports 10^3 times the distance. Levels halve
    while the shorter side stays at least 16 px, so the last level may be larger than 16 px.

    Memory is that of the patches of one level: 8 N patches 49 C bytes for both sets together.

    Args:
      real: [N, H, W, C] uint8.
      fake: the same shape.
      patches: number of patches per image and level.
      directions: number of random directions.
      seed: seed of the patches and directions.

    Returns:
      The distance at each level, by its shorter side in pixels ("64", "32", "16"), from large to
      small, and their "mean". Unit: standard deviations of a channel at the level.

    Raises:
      UserError: for images below 16 px, of sizes that do not halve evenly, or of different shapes.
    """
    if patches < 1:
        raise UserError(f"swd: patches={patches}: at least 1 of each image")
    if real.shape[1:] != fake.shape[1:]:
        raise UserError(
            f"swd: real images {real.shape[1:]} and generated ones {fake.shape[1:]}: bring both to"
            " one size and number of channels"
        )
    sizes = _level_sizes(*real.shape[1:3])
    distances = {}
    for level, (height, width) in enumerate(sizes):
        rows = [
            _patches(images, level, patches, np.random.RandomState([seed, level, side]))
            for side, images in enumerate((real, fake))
        ]
        distances[str(min(height, width))] = sliced_wasserstein(
            *rows, directions=directions, seed=seed
        )
    return {**distances, "mean": float(np.mean(list(distances.values())))}


def laplacian_pyramid(images: jax.Array, levels: int) -> list[jax.Array]:
    """Return the Laplacian pyramid of images (Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851).

    The kernel is (1, 4, 6, 4, 1) / 16 along both axes; borders are mirrored without repeating the
    edge.

    Args:
      images: [B, H, W, C] floats; H and W are multiples of 2^(levels - 1).
      levels: number of levels, at least 1.

    Returns:
      [B, H / 2^i, W / 2^i, C] for each level i: the residual of downsampling; the last level is the
      smallest image.
    """
    pyramid = [images.astype(jnp.float32)]
    for _ in range(levels - 1):
        smaller = _smooth(pyramid[-1])[:, ::2, ::2]
        pyramid[-1] = pyramid[-1] - _enlarge(smaller)
        pyramid.append(smaller)
    return pyramid


def _level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    if min(height, width) < _SMALLEST:
        raise UserError(
            f"swd: images of {height}x{width} px, at least {_SMALLEST}x{_SMALLEST} needed for its"
            " pyramid: use larger images"
        )
    sizes = [(height, width)]
    while min(sizes[-1]) >= 2 * _SMALLEST:
        if sizes[-1][0] % 2 or sizes[-1][1] % 2:
            raise UserError(
                f"swd: images of {height}x{width} px do not halve evenly down to {_SMALLEST} px"
                f" ({sizes[-1][0]}x{sizes[-1][1]} on the way): crop or resize them, such as to a"
                " power of two"
            )
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _patches(
    images: np.ndarray, level: int, patches: int, draw: np.random.RandomState
) -> np.ndarray:
    """Return normalised patches [N * patches, 49 * C] of a level."""
    rows = np.concatenate([*_raw_patches(images, level, patches, draw)])
    size = rows.shape[0] * rows.shape[1]
    mean = rows.sum((0, 1), dtype=np.float64) / size
    variance = np.einsum("pqc,pqc->c", rows, rows, dtype=np.float64) / size - mean**2
    rows -= mean.astype(np.float32)
    rows /= np.sqrt(np.where(variance > 0, variance, 1)).astype(np.float32)
    return rows.reshape(len(rows), -1)


def _raw_patches(
    images: np.ndarray, level: int, patches: int, draw: np.random.RandomState
) -> Iterator[np.ndarray]:
    levels = min(level + 2, len(_level_sizes(*images.shape[1:3])))
    pyramid = jax.jit(lambda block: laplacian_pyramid(block, levels)[level])
    offsets = np.arange(_PATCH)
    for start in range(0, len(images), _BLOCK):
        block = np.asarray(pyramid(images[start : start + _BLOCK]))
        count, height, width, channels = block.shape
        top = draw.randint(height - _PATCH + 1, size=(count, patches, 1, 1))
        left = draw.randint(width - _PATCH + 1, size=(count, patches, 1, 1))
        image = np.arange(count)[:, None, None, None]
        found = block[image, top + offsets[:, None], left + offsets]
        yield found.reshape(-1, _PATCH * _PATCH, channels)


def _smooth(images: jax.Array) -> jax.Array:
    for axis in (1, 2):
        reach = [(0, 0)] * 4
        reach[axis] = (2, 2)
        padded, size = jnp.pad(images, reach, mode="reflect"), images.shape[axis]
        images = sum(
            tap * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, tap in enumerate(_TAPS)
        )
    return images


def _enlarge(images: jax.Array) -> jax.Array:
    count, height, width, channels = images.shape
    spread = jnp.zeros((count, 2 * height, 2 * width, channels), images.dtype)
    return 4 * _smooth(spread.at[:, ::2, ::2].set(images))
