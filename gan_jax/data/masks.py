"""Random masks for inpainting: rectangles and brush strokes, drawn on the device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

STROKES = 4  # at most
SEGMENTS = 8  # of a stroke, at most


def rectangles(keys: jax.Array, size: tuple[int, int], *, least: float, most: float) -> jax.Array:
    """Draw a rectangle in each mask.

    Its share of the image's area is uniform, the logarithm of its aspect ratio is uniform between
    1:2 and 2:1, and its place is uniform within the image.

    Args:
      keys: typed PRNG keys [B], used for nothing else.
      size: (height, width) [px].
      least, most: bounds of the share, in (0, 1].

    Returns:
      bool [B, height, width], True inside.
    """
    return jax.vmap(functools.partial(_rectangle, size=size, least=least, most=most))(keys)


def _rectangle(key: jax.Array, *, size: tuple[int, int], least: float, most: float) -> jax.Array:
    height, width = size
    draws = jax.random.uniform(key, (4,))
    share = least + (most - least) * draws[0]
    tall = jnp.sqrt(share * height * width * 2.0 ** (2 * draws[1] - 1))
    tall = jnp.clip(tall, share * height, height)  # else it would be wider than the image
    wide = share * height * width / tall
    sides = jnp.maximum(jnp.round(jnp.stack([tall, wide])), 1)
    start = jnp.floor(draws[2:] * (jnp.array(size) - sides + 1))
    rows, columns = (
        (place >= first) & (place < first + side)
        for place, first, side in zip(map(jnp.arange, size), start, sides, strict=True)
    )
    return rows[:, None] & columns


def strokes(keys: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Draw one to four brush strokes in each mask.

    A stroke is a chain of four to eight segments with round ends, reflected at the borders. Its
    first direction is uniform; each next one turns by up to 120 degrees. Lengths of segments (10 to
    35 %) and the stroke's width (5 to 15 %) are shares of the shorter side. Masks of this kind are
    those of partial convolutions (arXiv:1804.07723) and DeepFill v2 (arXiv:1806.03589); the
    algorithm is our own.

    Args:
      keys: typed PRNG keys [B], used for nothing else.
      size: (height, width) [px].

    Returns:
      bool [B, height, width], True under a stroke; at least one pixel is.
    """
    return jax.vmap(functools.partial(_strokes, size=size))(keys)


def _strokes(key: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    side, last = min(size), jnp.array(size) - 1
    # One call: each call of the generator takes a second to compile.
    draws = jax.random.uniform(key, (STROKES, 5 + 2 * SEGMENTS))
    count = 1 + jnp.floor(STROKES * draws[0, 0])
    lengths = SEGMENTS // 2 + jnp.floor((SEGMENTS // 2 + 1) * draws[:, 1:2])
    used = (jnp.arange(STROKES)[:, None] < count) & (jnp.arange(SEGMENTS) < lengths)
    radius = side / 2 * (0.05 + 0.1 * draws[:, 2:3])
    radius = jnp.maximum(radius, 0.75)  # reaches the nearest pixel of any point

    turns, steps = jnp.split(draws[:, 5:], 2, 1)
    # The first turn is the direction itself.
    angles = ((2 * turns - 1) * jnp.where(jnp.arange(SEGMENTS), 2 / 3, 1) * jnp.pi).cumsum(1)
    steps = (side * (0.1 + 0.25 * steps))[..., None] * jnp.stack(
        [jnp.sin(angles), jnp.cos(angles)], -1
    )
    start = draws[:, None, 3:5] * last
    ends = jnp.concatenate([start, start + steps.cumsum(1)], 1)
    ends = last - jnp.abs(last - ends % jnp.maximum(2 * last, 1))

    (y, x), (dy, dx) = (
        jnp.moveaxis(points.reshape(-1, 2), 1, 0)[:, :, None, None]
        for points in (ends[:, :-1], ends[:, 1:] - ends[:, :-1])
    )
    y, x = jnp.arange(size[0])[:, None] - y, jnp.arange(size[1]) - x
    nearest = jnp.clip((y * dy + x * dx) / jnp.maximum(dy**2 + dx**2, 1e-6), 0, 1)
    distance = jnp.square(y - nearest * dy) + jnp.square(x - nearest * dx)
    reached = distance <= jnp.square(jnp.repeat(radius, SEGMENTS))[:, None, None]
    return (reached & used.reshape(-1, 1, 1)).any(0)
