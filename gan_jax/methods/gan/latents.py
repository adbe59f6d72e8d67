"""The inputs of a GAN's generator (latents, codes, class): drawing and interpolating them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError
from gan_jax.core.task import Key
from gan_jax.methods.gan.codes import Codes
from gan_jax.metrics.path_length import slerp
from gan_jax.models.blocks.soft_labels import one_hot

Draw = Callable[..., Any]
GRID_ROWS = 8  # of an unconditional sample grid; a conditional one has one row per class
MOST_CLASSES = 16  # rows of a conditional sample grid


def latents(*, latent: int = 100) -> int:
    """Return the dimensions of the generator's normal latents."""
    if latent < 1:
        raise UserError(f"model.latent={latent}: at least 1")
    return latent


LATENTS = Choice({"": latents})


def make_draw(latent: int, codes: Codes, classes: int) -> tuple[Draw, int]:
    """Return (draw, dimensions of the latents that it draws).

    `draw(keys, labels, truncation=0.0)` returns the generator's arguments, (latents,) or (latents,
    labels), one entry per key; with labels=None, labels are drawn uniformly. The latents are normal
    numbers followed by InfoGAN's codes (arXiv:1606.03657, section 7): one-hot categorical codes,
    then codes uniform in [-1, 1).

    Args:
      latent: dimensions of the normal latents.
      codes: appended to the normal latents.
      classes: number of classes the generator is conditioned on; 0 for none.
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
    """Return (start, end, place, along) -> the generator's arguments at a place in [0, 1].

    Normal latents are interpolated on the sphere (slerp), codes linearly, and classes linearly as
    weights of the two classes (`blocks.soft_labels`). `along` says what is interpolated: "latents",
    "classes" or both; the rest keeps its value at the start.

    Args:
      latent: dimensions of the normal latents.
      classes: number of classes the generator is conditioned on; 0 for none.
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
    """Return `Task.latents` of a GAN; `name` is the data set's, for messages."""

    def latents(keys: jax.Array, labels: jax.Array | None, **options: Any) -> Any:
        if labels is not None and not classes:
            raise UserError(f"this GAN on {name} is unconditional: leave labels out")
        return draw(keys, labels, options["truncation"])

    return latents


def sample_grid(
    make: Callable[[Any], jax.Array], draw: Draw, classes: int, columns: int, key: Key
) -> jax.Array:
    """Return samples [rows, columns, H, W, C], one row per class if there are classes.

    Args:
      make: (generator arguments) -> images.
      draw: see `make_draw`.
      classes: number of classes; 0 for none.
      columns: images per row.
      key: for the latents.
    """
    rows = min(classes, MOST_CLASSES) or GRID_ROWS
    keys = jax.random.split(key, rows * columns)
    given = jnp.repeat(jnp.arange(rows), columns) if classes else None
    images = make(draw(keys, given))
    return images.reshape(rows, columns, *images.shape[1:])
