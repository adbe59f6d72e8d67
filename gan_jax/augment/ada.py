"""Adaptive discriminator augmentation: ADA, of Karras et al. 2020 (arXiv:2006.06676).

Real and generated images pass a chain of random operations, each applied with probability p
(appendix B). p adapts to the discriminator's overfitting on real images (section 3); it is part of
the state and of checkpoints.

Deviations: images are resampled once, bilinearly with mirrored borders, where the authors' code
applies a wavelet filter at twice the resolution; image-space filtering, noise and cutout, which the
paper drops in the end, are not implemented.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.augment.geometric import bilinear_sample

TARGET = 0.6  # of E[sign(D(real))]
INTERVAL = 4  # steps between changes of p
PARTS = ("geometry", "color")

State = dict[str, jax.Array]


def initial() -> State:
    """Return the initial state: p, and the sum of mean signs since p last changed."""
    return {"p": jnp.zeros(()), "signs": jnp.zeros(())}


def adapted(
    state: State, mean_sign: jax.Array, step: jax.Array, *, batch_size: int, ramp_images: float
) -> State:
    """Return the state after a step: every INTERVAL steps, p moves to reduce overfitting.

    Args:
      state: as in `initial`.
      mean_sign: E[sign(D(x))] over the real images of this step, on all devices, in [-1, 1].
      step: int scalar, the step's number from 0.
      batch_size: images per step, over all devices.
      ramp_images: number of real images in which p can rise from 0 to 1; 500,000 in the paper.

    Returns:
      The new state, p in [0, 1].
    """
    signs = state["signs"] + mean_sign
    due = (step + 1) % INTERVAL == 0
    change = jnp.sign(signs / INTERVAL - TARGET) * batch_size * INTERVAL / ramp_images
    return {
        "p": jnp.where(due, jnp.clip(state["p"] + change, 0, 1), state["p"]),
        "signs": jnp.where(due, 0.0, signs),
    }


def ada(images: jax.Array, keys: jax.Array, p: jax.Array, parts: tuple[str, ...]) -> jax.Array:
    """Augment each image at random.

    Args:
      images: [B, H, W, C] in [-1, 1]; a fourth channel keeps its values under "color".
      keys: typed PRNG keys [B], used for nothing else.
      p: probability of each operation, a scalar in [0, 1].
      parts: a selection of PARTS.

    Returns:
      [B, H, W, C]; colours may leave [-1, 1].
    """
    fold_in = jax.vmap(jax.random.fold_in, (0, None))
    if "geometry" in parts:
        height, width = images.shape[1:3]
        matrix = jax.vmap(lambda key: geometry_matrix(key, p, height, width))(fold_in(keys, 0))
        y, x = jnp.meshgrid(
            jnp.arange(height) - (height - 1) / 2,
            jnp.arange(width) - (width - 1) / 2,
            indexing="ij",
        )
        places = jnp.stack([y, x, jnp.ones_like(y)])
        from_y, from_x, _ = jnp.einsum("bij,jhw->ibhw", matrix, places, precision="highest")
        images = bilinear_sample(
            images,
            mirror(from_y + (height - 1) / 2, height),
            mirror(from_x + (width - 1) / 2, width),
            fill=0.0,
        )
    if "color" in parts:
        matrix = jax.vmap(lambda key: color_matrix(key, p))(fold_in(keys, 1))
        images = _recolored(images, matrix)
    return images


# Full precision: accelerators round matrix products to 8 or 11 bits, which shifts pixels and
# colours.
_exact = jax.default_matmul_precision("highest")


@_exact
def geometry_matrix(key: jax.Array, p: jax.Array, height: int, width: int) -> jax.Array:
    """Draw the matrix [3, 3] from an output pixel (row, column, 1) to its place in the input.

    Places are in pixels from the centre. Mirror, rotate by 90 degrees, shift by whole pixels,
    scale, rotate, stretch, rotate, shift (appendix B, in the order of the authors' code).
    """
    keys = iter(jax.random.split(key, 16))
    sides = jnp.array([height, width], jnp.float32)

    def chance(matrix: jax.Array, p: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(next(keys), p), matrix, jnp.eye(3))

    def uniform(low: float, high: float, shape: tuple[int, ...] = ()) -> jax.Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    def normal(std: float, shape: tuple[int, ...] = ()) -> jax.Array:
        return std * jax.random.normal(next(keys), shape)

    flip = jnp.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    matrix = chance(jnp.diag(jnp.stack([1.0, flip, 1.0])), p)
    quarter = jnp.floor(uniform(0, 4)) * (jnp.pi / 2)
    matrix = matrix @ chance(_rotation(quarter), p)
    matrix = matrix @ chance(_shift(jnp.round(uniform(-0.125, 0.125, (2,)) * sides)), p)
    size = jnp.exp2(-normal(0.2))
    matrix = matrix @ chance(jnp.diag(jnp.stack([size, size, jnp.ones(())])), p)
    # At least one of the two rotations happens with probability p.
    half = 1 - jnp.sqrt(1 - p)
    matrix = matrix @ chance(_rotation(uniform(-jnp.pi, jnp.pi)), half)
    size = jnp.exp2(normal(0.2))
    matrix = matrix @ chance(jnp.diag(jnp.stack([size, 1 / size, jnp.ones(())])), p)
    matrix = matrix @ chance(_rotation(uniform(-jnp.pi, jnp.pi)), half)
    return matrix @ chance(_shift(normal(0.125, (2,)) * sides), p)


@_exact
def color_matrix(key: jax.Array, p: jax.Array) -> jax.Array:
    """Draw the matrix [4, 4] from (red, green, blue, 1) to new colours.

    Brightness, contrast, mirrored luma, hue, saturation (appendix B).
    """
    keys = iter(jax.random.split(key, 10))
    grey = jnp.array([1.0, 1.0, 1.0, 0.0]) / jnp.sqrt(3.0)
    eye, along = jnp.eye(4), jnp.outer(grey, grey)

    def chance(matrix: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(next(keys), p), matrix, eye)

    normal = lambda std: std * jax.random.normal(next(keys))  # noqa: E731
    matrix = chance(eye.at[:3, 3].set(normal(0.2)))
    matrix = chance(jnp.diag(jnp.ones(4).at[:3].set(jnp.exp2(normal(0.5))))) @ matrix
    flip = jax.random.bernoulli(next(keys))
    matrix = chance(jnp.where(flip, eye - 2 * along, eye)) @ matrix
    turn = jax.random.uniform(next(keys), minval=-jnp.pi, maxval=jnp.pi)
    x, y, z = grey[:3]
    cross = jnp.zeros((4, 4)).at[:3, :3].set(jnp.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
    # Rodrigues' formula, about the axis of greys.
    hue = eye + jnp.sin(turn) * cross + (1 - jnp.cos(turn)) * cross @ cross
    matrix = chance(hue) @ matrix
    color = (eye - along).at[3, 3].set(0.0)  # what is neither grey nor the constant
    return chance(eye + color * (jnp.exp2(normal(1.0)) - 1)) @ matrix


def mirror(place: jax.Array, size: int) -> jax.Array:
    """Map a coordinate into [0, size - 1] by mirroring at the edge pixels."""
    period = max(2 * (size - 1), 1)
    place = jnp.mod(place, period)
    return jnp.minimum(place, period - place)


def _recolored(images: jax.Array, matrix: jax.Array) -> jax.Array:
    if images.shape[-1] == 1:  # grey: as three equal channels, averaged afterwards
        row = matrix[:, :3].mean(1)
        factor, offset = row[:, :3].sum(-1), row[:, 3]
        return images * factor[:, None, None, None] + offset[:, None, None, None]
    turned = matrix[:, :3, :3]
    colors = jnp.einsum("bij,bhwj->bhwi", turned, images[..., :3], precision="highest")
    colors = colors + matrix[:, None, None, :3, 3]
    return jnp.concatenate([colors.astype(images.dtype), images[..., 3:]], -1)


def _rotation(radians: jax.Array) -> jax.Array:
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    return jnp.eye(3).at[:2, :2].set(jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])]))


def _shift(by: jax.Array) -> jax.Array:
    return jnp.eye(3).at[:2, 2].set(-by)
