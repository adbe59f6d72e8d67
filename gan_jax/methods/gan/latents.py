"""What a GAN's generator is given: latents, codes and the class, and what lies between two such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.task import Key
from gan_jax.methods.gan.codes import Codes
from gan_jax.metrics.path_length import slerp
from gan_jax.models.blocks.soft_labels import one_hot

Draw = Callable[..., Any]
GRID_ROWS = 8  # of the unconditional sample grid; a conditional one has a row a class
MOST_CLASSES = 16  # that a sample grid shows


class Players(NamedTuple):
    """The networks of a GAN, and what its generator is given.

    Attributes:
      generator, discriminator: the networks.
      classes: how many they are given; 0 for none.
      draw: see `make_draw`.
      given_shape: of the generator's first argument, without the batch axis.
      condition_on: (drawn, real images) -> the generator's arguments in training, where it is given
        more than what is drawn.
    """

    generator: nn.Module
    discriminator: nn.Module
    classes: int
    draw: Draw
    given_shape: tuple[int, ...]
    condition_on: Callable[[tuple, jax.Array], tuple] = lambda drawn, real: drawn


def make_draw(latent: int, codes: Codes, classes: int) -> tuple[Draw, int]:
    """Return (draw, dimensions of what it draws).

    `draw(keys, labels, truncation=0.0)` gives the generator's arguments, (latents,) or (latents,
    labels), one entry a key; labels that are None are drawn too. The latents are normal, and after
    them come InfoGAN's codes (arXiv:1606.03657, section 7): one-hot categorical ones, then ones
    that are uniform in [-1, 1).

    Args:
      latent: dimensions of the normal latents.
      codes: beside them.
      classes: that the generator is given; 0 for none.
    """
    sizes, continuous = codes
    coded = codes.size > 0

    def draw_codes(key: Key) -> jax.Array:
        *keys, last = jax.random.split(key, len(sizes) + 1)
        parts = [
            jax.nn.one_hot(jax.random.randint(key, (), 0, size), size)
            for key, size in zip(keys, sizes, strict=True)
        ]
        uniform = jax.random.uniform(last, (continuous,), minval=-1.0, maxval=1.0)
        return jnp.concatenate([*parts, uniform])

    def draw(keys: jax.Array, labels: jax.Array | None, truncation: float = 0.0) -> Any:
        def normal(key: Key) -> jax.Array:
            if truncation:
                return jax.random.truncated_normal(key, -truncation, truncation, (latent,))
            return jax.random.normal(key, (latent,))

        split = jax.vmap(lambda key: jax.random.split(key, 3 if coded else 2))(keys)
        z_keys, label_keys, *code_keys = jnp.moveaxis(split, 1, 0)
        z = jax.vmap(normal)(z_keys)
        if coded:
            z = jnp.concatenate([z, jax.vmap(draw_codes)(code_keys[0])], -1)
        if not classes:
            return (z,)
        if labels is None:
            labels = jax.vmap(lambda key: jax.random.randint(key, (), 0, classes))(label_keys)
        return (z, labels)

    return draw, latent + codes.size


def make_interpolate(latent: int, classes: int) -> Callable[..., Any]:
    """Return (start, end, place, along) -> the generator's arguments at a place of a path.

    The normal latents move along the sphere, codes along a line. A class moves along a line too, as
    weights of the two classes (`models.soft_labels`). What does not move is that of the start.

    Args:
      latent: dimensions of the normal latents.
      classes: that the generator is given; 0 for none.
    """

    def interpolate(start: Any, end: Any, place: jax.Array, along: str) -> Any:
        if along == "classes" and not classes:
            raise UserError(
                "--interpolate=classes: this GAN is unconditional: use --interpolate=latents"
            )
        share = place[:, None]
        z = start[0]
        if along != "classes":
            (a, a_codes), (b, b_codes) = (
                jnp.split(each[0], [latent], axis=1) for each in (start, end)
            )
            codes = (1 - share) * a_codes + share * b_codes
            z = jnp.concatenate([slerp(a, b, place), codes], 1)
        if not classes:
            return (z,)
        if along == "latents":
            return (z, start[1])
        first, last = (one_hot(each[1], classes, z.dtype) for each in (start, end))
        return (z, (1 - share) * first + share * last)

    return interpolate


def make_latents(draw: Draw, classes: int, name: str) -> Callable[..., Any]:
    """Return `Task.latents` of a GAN; `name` is that of the data."""

    def latents(keys: jax.Array, labels: jax.Array | None, **options: Any) -> Any:
        if labels is not None and not classes:
            raise UserError(f"this GAN on {name} is unconditional: leave labels out")
        return draw(keys, labels, options["truncation"])

    return latents


def sample_grid(
    make: Callable[[Any], jax.Array], draw: Draw, classes: int, columns: int, key: Key
) -> jax.Array:
    """Return images [rows, columns, H, W, C], with classes a row each; `make` is given latents."""
    rows = min(classes, MOST_CLASSES) or GRID_ROWS
    keys = jax.random.split(key, rows * columns)
    given = jnp.repeat(jnp.arange(rows), columns) if classes else None
    images = make(draw(keys, given))
    return images.reshape(rows, columns, *images.shape[1:])
