"""Dropout with one key per example, so that a mask does not depend on batch or device."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def dropout(x: jax.Array, keys: jax.Array, rate: float) -> jax.Array:
    """Zero entries with probability `rate` and scale the others by 1 / (1 - rate).

    Unlike in `flax.linen.Dropout`, whose mask is drawn for the whole batch and so depends on how
    the batch is split over devices, every example's mask comes from its own key.

    Args:
      x: [B, ...].
      keys: typed PRNG keys [B], used for nothing else.
      rate: in [0, 1).
    """
    if rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)


def make_dropout(
    rate: float, keys: jax.Array | None, *, of: str
) -> Callable[[jax.Array, int], jax.Array]:
    """Return a function (x [B, ...], layer number) -> dropped-out x, for the layers of one pass.

    Args:
      rate: in [0, 1); 0 returns every x as it is.
      keys: typed PRNG keys [B] of this pass only; each layer folds in its number.
      of: name of the network, for the error message.

    Raises:
      ValueError: a rate above 0 without keys.
    """
    if not rate:
        return lambda x, layer: x
    if keys is None:
        raise ValueError(f"{of}: keys=None, but dropout needs one an image")
    fold_in = jax.vmap(jax.random.fold_in, (0, None))
    return lambda x, layer: dropout(x, fold_in(keys, layer), rate)
