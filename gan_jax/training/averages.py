"""Moving averages of weights: whether a run keeps them, and how fast they move."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict


def ema_decay_at(step: jax.Array, decay: float, start: int = 0) -> jax.Array:
    """Return the decay for this step: min(decay, (1 + step) / (10 + step)).

    The ramp (that of TensorFlow's ExponentialMovingAverage) lets the average leave the initial
    weights quickly, without a start step to tune.

    Args:
      step: int scalar, updates done before.
      decay: share of the old average that is kept in the end, in [0, 1).
      start: where above 0, the average is the weights themselves until that step and has the whole
        decay from there on, as BigGAN's author and StudioGAN have it.
    """
    if start:
        return jnp.where(step < start, 0.0, decay)
    step = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + step) / (10 + step))


def keeps_average(train: ConfigDict) -> bool:
    """Return whether a run's section `train` asks for moving averages of the weights."""
    return train.ema_decay > 0 or train.ema_half_life > 0


def ema_schedule(train: ConfigDict) -> Callable[[jax.Array], jax.Array]:
    """Return the decay of a run's moving averages by the step, see `ema_decay_at`.

    Args:
      train: the section of the config; a half-life, in images of a batch, comes before ema_decay.
    """
    decay = train.ema_decay
    if train.ema_half_life:
        decay = 0.5 ** (train.batch_size / train.ema_half_life)
    return functools.partial(ema_decay_at, decay=decay, start=train.ema_start)
