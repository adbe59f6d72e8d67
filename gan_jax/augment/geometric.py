"""Rotations, shifts, flips: geometric augmentation of whole batches, inside the compiled step.

Every random function takes one key per example, so that the result for an example does not depend
on its batch or device. Functions of a tuple of images transform all of them alike, for pairs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Images = tuple[jax.Array, ...]


def affine(
    images: jax.Array,
    *,
    degrees: jax.Array | float = 0.0,
    scale: jax.Array | float = 1.0,
    shift: jax.Array | tuple[float, float] = (0.0, 0.0),
    shear_degrees: jax.Array | float = 0.0,
    fill: float = -1.0,
) -> jax.Array:
    """Shear, scale and rotate each image about its centre, then shift it; bilinear.

    Args:
      images: [B, H, W, C].
      degrees: [B] or one, counter-clockwise as displayed (row 0 above).
      scale: [B] or one, positive; above 1 enlarges.
      shift: [B, 2] or one pair (down, right), pixels.
      shear_degrees: [B] or one, in (-90, 90); positive leans to the right, as italics do.
      fill: value outside the images, in their scale; -1 is black.

    Returns:
      [B, H, W, C], as scipy.ndimage.map_coordinates(order=1, mode="grid-constant", cval=fill).
    """
    batch, height, width, _ = images.shape

    def each(value: jax.Array | float) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), (batch,))[:, None, None]

    down, right = jnp.moveaxis(jnp.broadcast_to(jnp.asarray(shift, jnp.float32), (batch, 2)), 1, 0)
    # Where an output pixel comes from: undo the shift, the rotation, the scale, the shear.
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2 - each(down)
    x = jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2 - each(right)
    radians = jnp.deg2rad(each(degrees))
    cos, sin = jnp.cos(radians) / each(scale), jnp.sin(radians) / each(scale)
    y, x = sin * x + cos * y, cos * x - sin * y
    x = x + jnp.tan(jnp.deg2rad(each(shear_degrees))) * y
    return bilinear_sample(images, y + (height - 1) / 2, x + (width - 1) / 2, fill)


def rotate(images: jax.Array, degrees: jax.Array | float, *, fill: float = -1.0) -> jax.Array:
    """Rotate images [B, H, W, C] by degrees [B], counter-clockwise about the centre; bilinear."""
    return affine(images, degrees=degrees, fill=fill)


def random_affine(
    images: jax.Array,
    keys: jax.Array,
    *,
    max_degrees: float = 0.0,
    max_scale: float = 0.0,
    max_shift_pixels: float = 0.0,
    fill: float = -1.0,
) -> jax.Array:
    """Rotate, scale and shift each image by uniform draws from its own key.

    Args:
      images: [B, H, W, C].
      keys: typed PRNG keys [B], used for nothing else.
      max_degrees: the angle is in [-max_degrees, max_degrees].
      max_scale: the scale is in [1 - max_scale, 1 + max_scale]; in [0, 1).
      max_shift_pixels: both shifts are in [-max_shift_pixels, max_shift_pixels], not rounded.
      fill: value outside the images.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (4,), minval=-1.0))(keys)
    return affine(
        images,
        degrees=max_degrees * draws[:, 0],
        scale=1 + max_scale * draws[:, 1],
        shift=max_shift_pixels * draws[:, 2:],
        fill=fill,
    )


def random_flip(images: Images, keys: jax.Array) -> Images:
    """Mirror examples left to right with probability 1/2, all images of an example or none.

    Args:
      images: a tuple of [B, H, W, C]; sizes and channels may differ.
      keys: typed PRNG keys [B], used for nothing else.
    """
    flip = jax.vmap(jax.random.bernoulli)(keys)[:, None, None, None]
    return tuple(jnp.where(flip, x[:, :, ::-1], x) for x in images)


def random_turn(images: Images, keys: jax.Array) -> Images:
    """Turn square examples by 0, 90, 180 or 270 degrees, all images of an example alike.

    Args:
      images: a tuple of [B, S, S, C]; sizes and channels may differ.
      keys: typed PRNG keys [B], used for nothing else.
    """
    turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)[:, None, None, None]

    def turned(x: jax.Array) -> jax.Array:
        x = jnp.where(turns >= 2, x[:, ::-1, ::-1], x)
        return jnp.where(turns % 2 == 1, jnp.rot90(x, axes=(1, 2)), x)

    return tuple(map(turned, images))


def random_jitter(images: Images, keys: jax.Array, *, pad: int, reflect: bool = False) -> Images:
    """Shift examples by whole pixels, all images of an example alike; edges are repeated.

    Equivalent to padding by `pad` and cropping at random. (pix2pix, arXiv:1611.07004, 6.2, resizes
    256 px to 286 px and crops, which also enlarges.)

    Args:
      images: a tuple of [B, H, W, C] of one size; channels may differ.
      keys: typed PRNG keys [B], used for nothing else.
      pad: the largest shift in each direction, pixels.
      reflect: fill with the image mirrored at its edge pixels instead of repeating the edges; `pad`
        must then be below both sides.
    """
    sizes = {x.shape[1:3] for x in images}
    if len(sizes) > 1:
        raise ValueError(f"random_jitter: images of one size needed, got {sorted(sizes)}")
    offsets = jax.vmap(lambda key: jax.random.randint(key, (2,), -pad, pad + 1))(keys)

    def inside(place: jax.Array, size: int) -> jax.Array:
        if reflect:
            place = jnp.abs(place)
            return jnp.minimum(place, 2 * (size - 1) - place)
        return jnp.clip(place, 0, size - 1)

    def move(x: jax.Array, offset: jax.Array) -> jax.Array:
        rows, columns = (
            inside(jnp.arange(size) + by, size)
            for size, by in zip(x.shape[:2], offset, strict=True)
        )
        return x[rows][:, columns]

    return tuple(jax.vmap(move)(x, offsets) for x in images)


def bilinear_sample(images: jax.Array, y: jax.Array, x: jax.Array, fill: float) -> jax.Array:
    """Interpolate images [B, H, W, C] at coordinates y, x [B, H', W'], pixels."""
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    # The four neighbours become channels: one gather of adjacent values per pixel. With the border
    # of `fill`, every clipped coordinate is legal.
    corners = [padded[:, i : i + height + 1, j : j + width + 1] for i in (0, 1) for j in (0, 1)]
    corners = jnp.concatenate(corners, -1).reshape(batch, -1, 4 * channels)
    row = jnp.clip(jnp.floor(y), -1, height - 1)
    column = jnp.clip(jnp.floor(x), -1, width - 1)
    index = ((row + 1) * (width + 1) + column + 1).astype(jnp.int32)
    found = jax.vmap(lambda table, i: table.at[i].get(mode="promise_in_bounds"))(corners, index)
    found = found.reshape(*index.shape, 4, channels)
    v = jnp.clip(y - row, 0, 1)[..., None]
    u = jnp.clip(x - column, 0, 1)[..., None]
    above = (1 - u) * found[..., 0, :] + u * found[..., 1, :]
    below = (1 - u) * found[..., 2, :] + u * found[..., 3, :]
    return ((1 - v) * above + v * below).astype(images.dtype)
