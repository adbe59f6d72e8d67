"""Exponential moving averages of weights: their configuration and decay."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict


def ema_decay_at(step: jax.Array, decay: float, start: int = 0) -> jax.Array:
    """Return the decay at a step: min(decay, (1 + step) / (10 + step)).

    The ramp is that of TensorFlow's ExponentialMovingAverage: the average forgets the initial
    weights quickly, without a start step to tune.

    Args:
      step: int scalar, number of updates before this one.
      decay: final weight of the old average, in [0, 1).
      start: if above 0, replaces the ramp: the average equals the weights until this step and uses
        the full decay from then on, as BigGAN's author and StudioGAN do.
    """
    if start:
        return jnp.where(step < start, 0.0, decay)
    step = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + step) / (10 + step))


def keeps_average(train: ConfigDict) -> bool:
    """Return whether a config section `train` enables moving averages of the weights."""
    return train.ema_decay > 0 or train.ema_half_life > 0


def ema_schedule(train: ConfigDict) -> Callable[[jax.Array], jax.Array]:
    """Return the decay as a function of the step, see `ema_decay_at`.

    Args:
      train: config section `train`; `ema_half_life` (in training images) overrides `ema_decay`.
    """
    decay = train.ema_decay
    if train.ema_half_life:
        decay = 0.5 ** (train.batch_size / train.ema_half_life)
    return functools.partial(ema_decay_at, decay=decay, start=train.ema_start)
