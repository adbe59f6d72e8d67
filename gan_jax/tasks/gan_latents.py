"""What a GAN's generator is given: latents, codes, and the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.task import Key

Draw = Callable[..., Any]


def make_draw(model: ConfigDict, classes: int) -> tuple[Draw, int]:
    """Return (draw, dimensions of what it draws).

    `draw(keys, labels, truncation=0.0)` gives the generator's arguments, (latents,) or (latents,
    labels), one entry a key; labels that are None are drawn too. The latents are normal, and after
    them come InfoGAN's codes (arXiv:1606.03657, section 7): one-hot categorical ones, then ones
    that are uniform in [-1, 1).

    Args:
      model: the section of the config.
      classes: that the generator is given; 0 for none.
    """
    sizes, continuous = tuple(model.categorical_codes), model.continuous_codes
    coded = bool(sizes or continuous)

    def codes(key: Key) -> jax.Array:
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
                return jax.random.truncated_normal(key, -truncation, truncation, (model.latent,))
            return jax.random.normal(key, (model.latent,))

        split = jax.vmap(lambda key: jax.random.split(key, 3 if coded else 2))(keys)
        z_keys, label_keys, *code_keys = jnp.moveaxis(split, 1, 0)
        z = jax.vmap(normal)(z_keys)
        if coded:
            z = jnp.concatenate([z, jax.vmap(codes)(code_keys[0])], -1)
        if not classes:
            return (z,)
        if labels is None:
            labels = jax.vmap(lambda key: jax.random.randint(key, (), 0, classes))(label_keys)
        return (z, labels)

    return draw, model.latent + sum(sizes) + continuous
