"""The PRNG keys of a run: one root key, split once into named keys, each for one purpose."""

from __future__ import annotations

import jax
import numpy as np

from gan_jax.core.config import check_seed

NAMES = ("init", "train", "grids", "evaluate", "measure")  # append new names at the end


def named_keys(seed: int) -> dict[str, jax.Array]:
    """Return the keys of a run by name.

    Args:
      seed: `config.seed`.
    """
    check_seed("seed", seed)
    return dict(zip(NAMES, jax.random.split(jax.random.key(seed), len(NAMES)), strict=True))


def fold_in_each(key: jax.Array, indices: jax.Array | np.ndarray) -> jax.Array:
    """Return one key per index, [N]: `fold_in(key, index)`, independent of the other indices."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)


def image_keys(seed: int, indices: np.ndarray) -> jax.Array:
    """Return one key per image, [N], so that image i depends on (seed, i) only.

    Args:
      seed: seed of the whole request.
      indices: int [N], the indices of the images in the request.
    """
    check_seed("seed", seed)
    return fold_in_each(jax.random.key(seed), np.asarray(indices, np.int32))
