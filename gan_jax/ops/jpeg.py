"""JPEG compression on the device: the losses of an encoder and a decoder, without the file."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.ops.colour import grey_bytes

BLOCK = 8  # side of the blocks of the cosine transform [px]
_BITS = 16  # fractional bits of libjpeg's colour conversion

# The example tables of the standard (ITU-T T.81, annex K.1), which libjpeg scales by the quality.
_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_CHROMA = np.full((BLOCK, BLOCK), 99)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_ROWS, _COLUMNS = np.mgrid[:BLOCK, :BLOCK]
_COSINES = np.cos(np.pi * _ROWS * (2 * _COLUMNS + 1) / (2 * BLOCK)) / 2
_COSINES[0] /= np.sqrt(2)  # rows are frequencies, and orthonormal


def compress(images: jax.Array, quality: jax.Array) -> jax.Array:
    """Return images as a baseline JPEG file of them would be read.

    Follows libjpeg, whose defaults are Pillow's: colours as Y'CbCr with chroma at half the width
    and height (4:2:0), 8x8 cosine transform, the standard tables scaled by the quality, chroma
    enlarged by a triangular filter. Cosine transforms are in float32 where libjpeg's are in
    integers, so that single values differ by a level where both are near a rounding boundary.

    Args:
      images: [B, H, W, 1 | 3], whole numbers in [0, 255], of any type.
      quality: int [B] in [1, 100].

    Returns:
      uint8 [B, H, W, 1 | 3].
    """
    levels = images.astype(jnp.int32)
    luma_table, chroma_table = (_scaled(table, quality) for table in (_LUMA, _CHROMA))
    if images.shape[-1] == 1:
        return _coded(levels[..., 0], luma_table)[..., None].astype(jnp.uint8)
    y, cb, cr = _from_rgb(levels)
    y = _coded(y, luma_table)
    size = y.shape[1:]
    cb, cr = (_enlarged(_coded(_halved(x), chroma_table), size) for x in (cb, cr))
    return _to_rgb(y, cb, cr).astype(jnp.uint8)


def _scaled(table: np.ndarray, quality: jax.Array) -> jax.Array:
    """Scale a quantisation table [8, 8] by qualities [B], as libjpeg does: [B, 8, 8] float32."""
    quality = quality.astype(jnp.int32)
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None, None]
    return jnp.clip((table * percent + 50) // 100, 1, 255).astype(jnp.float32)


def _coded(plane: jax.Array, table: jax.Array) -> jax.Array:
    """Quantise the cosine transform of a plane: int32 [B, H, W], [B, 8, 8] -> int32 [B, H, W]."""
    batch, height, width = plane.shape
    down, right = -height % BLOCK, -width % BLOCK
    padded = jnp.pad(plane, ((0, 0), (0, down), (0, right)), mode="edge")
    rows, columns = (height + down) // BLOCK, (width + right) // BLOCK
    blocks = padded.reshape(batch, rows, BLOCK, columns, BLOCK).astype(jnp.float32) - 128
    step = table[:, None, :, None]
    waves = _transformed(blocks, _COSINES) / step
    waves = jnp.sign(waves) * _rounded(jnp.abs(waves)) * step
    made = _rounded(_transformed(waves, _COSINES.T) + 128).astype(jnp.int32)
    return jnp.clip(made, 0, 255).reshape(padded.shape)[:, :height, :width]


def _rounded(x: jax.Array) -> jax.Array:
    # Halves upwards, as in libjpeg. They are frequent: the mean of a block is a multiple of 1/64.
    return jnp.floor(x + (0.5 + 1e-4))


def _transformed(blocks: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply both axes of blocks [B, rows, 8, columns, 8] by a matrix [8, 8]."""
    matrix = jnp.asarray(matrix, jnp.float32)
    return jnp.einsum("ui,bricj,vj->brucv", matrix, blocks, matrix, precision="highest")


def _fixed(value: float) -> int:
    return round(value * 2**_BITS)


def _from_rgb(levels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Convert int32 [B, H, W, 3] to Y', Cb, Cr [B, H, W], rounded, chroma around 128."""
    red, green, blue = jnp.moveaxis(levels, -1, 0)
    half, middle = 1 << (_BITS - 1), 128 << _BITS
    # The largest difference of colours has a weight of exactly 1/2, so that results fit a byte.
    cb = -_fixed(0.168735892) * red - _fixed(0.331264108) * green + half * blue
    cr = half * red - _fixed(0.418687589) * green - _fixed(0.081312411) * blue
    cb, cr = ((x + middle + half - 1) >> _BITS for x in (cb, cr))
    return grey_bytes(levels)[..., 0].astype(jnp.int32), cb, cr


def _to_rgb(y: jax.Array, cb: jax.Array, cr: jax.Array) -> jax.Array:
    """Convert int32 [B, H, W] each to RGB [B, H, W, 3] in [0, 255]."""
    half = 1 << (_BITS - 1)
    cb, cr = cb - 128, cr - 128
    red = y + ((_fixed(1.402) * cr + half) >> _BITS)
    green = y + ((-_fixed(0.344136286) * cb - _fixed(0.714136286) * cr + half) >> _BITS)
    blue = y + ((_fixed(1.772) * cb + half) >> _BITS)
    return jnp.clip(jnp.stack([red, green, blue], -1), 0, 255)


def _halved(plane: jax.Array) -> jax.Array:
    """Average 2x2 pixels: int32 [B, H, W] -> [B, ceil(H / 2), ceil(W / 2)] and columns beyond.

    The columns beyond make the width a multiple of 8; libjpeg averages repeated edge pixels for
    them, and repeats results for the missing rows, as `_coded` does. Sums that end in 1/2 are
    rounded down and up in turn, from column to column.
    """
    _, height, width = plane.shape
    pads = ((0, 0), (0, height % 2), (0, -width % (2 * BLOCK)))
    plane = jnp.pad(plane, pads, mode="edge")
    rows = plane[:, ::2] + plane[:, 1::2]
    sums = rows[..., ::2] + rows[..., 1::2]
    return (sums + 1 + np.arange(sums.shape[-1]) % 2) >> 2


def _enlarged(plane: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Double a plane of chroma by a triangular filter and cut it to size [px]."""
    height, width = size
    plane = plane[:, : -(-height // 2), : -(-width // 2)]
    if plane.shape[-1] <= 2:  # for which libjpeg repeats pixels
        return plane.repeat(2, 1).repeat(2, 2)[:, :height, :width]
    rows = _between(plane, 1)
    sums = _between(rows, 2)
    rounding = np.array([8, 7])[np.arange(sums.shape[-1]) % 2]
    return ((sums + rounding) >> 4)[:, :height, :width]


def _between(x: jax.Array, axis: int) -> jax.Array:
    """Return 3 * each value + its neighbour before, then after: twice as many along the axis."""
    x = jnp.moveaxis(x, axis, -1)
    wide = jnp.pad(x, ((0, 0), (0, 0), (1, 1)), mode="edge")
    pairs = jnp.stack([3 * x + wide[..., :-2], 3 * x + wide[..., 2:]], -1)
    return jnp.moveaxis(pairs.reshape(*x.shape[:-1], -1), -1, axis)
