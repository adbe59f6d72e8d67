"""State of a GAN that belongs to no network: moving averages of logits and weights, ADA's p."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.augment import ada
from gan_jax.core.state import NetState, TrainState
from gan_jax.core.task import Metrics
from gan_jax.objectives.logits import current_averages, moved_averages
from gan_jax.objectives.weights import moved_history
from gan_jax.parallel.axes import axis_mean

LECAM_DECAY = 0.99  # of the averages of logits, arXiv:2104.03310, section 4.1


def initial_buffers(
    nets: dict[str, NetState], terms: dict[str, Collection[str]], *, adaptive: bool
) -> dict[str, Any]:
    """Return the buffers that the terms in use need.

    Args:
      nets: "gen" and "disc", at the start.
      terms: names of the terms in use, of "gen" and "disc".
      adaptive: whether the discriminator's images are augmented by ADA.
    """
    buffers: dict[str, Any] = {}
    if "lecam" in terms["disc"]:
        buffers["lecam"] = {"real": jnp.zeros(()), "fake": jnp.zeros(())}
    for name, net in nets.items():
        if "historical" in terms[name]:
            # A copy, never an alias: the state is donated.
            buffers[f"history_{name}"] = jax.tree.map(jnp.copy, net.params)
    if adaptive:
        buffers["ada"] = ada.initial()
    return buffers


def with_averages(buffers: dict[str, Any], metrics: Metrics) -> dict[str, Any]:
    """Return the buffers after one update of the discriminator: LeCam's averages move at each.

    Args:
      buffers: of the state.
      metrics: of the update, on this device.
    """
    if "lecam" not in buffers:
        return buffers
    means = axis_mean({side: metrics[f"logits/{side}"] for side in ("real", "fake")})
    return {**buffers, "lecam": moved_averages(buffers["lecam"], means, LECAM_DECAY)}


def lecam_averages(buffers: Mapping[str, Any], real: jax.Array, fake: jax.Array) -> dict[str, Any]:
    """Return what LeCam compares the logits of an update with; see `logits.current_averages`.

    Of this update it takes the batch at hand, which is a microbatch where there are such.

    Args:
      buffers: of the state, with "updates": of the discriminator so far.
      real, fake: logits.
    """
    means = axis_mean({"real": real.mean(), "fake": fake.mean()})
    return current_averages(buffers["lecam"], means, LECAM_DECAY, buffers["updates"])


def moved_buffers(
    state: TrainState, metrics: Metrics, *, batch_size: int, ramp_images: float
) -> dict[str, Any]:
    """Return the buffers after a step.

    Args:
      state: with the networks after the step, and `step` before it.
      metrics: of the step's last discriminator update, on this device.
      batch_size: images a discriminator update, over all devices.
      ramp_images: as of `ada.adapted`.
    """
    buffers = dict(state.buffers)
    for name, net in state.nets.items():
        if f"history_{name}" in buffers:
            average = buffers[f"history_{name}"]
            buffers[f"history_{name}"] = moved_history(average, net.params, state.step + 1)
    if "ada" in buffers:
        # E[sign(D - boundary)], see `ada`.
        sign = axis_mean(2 * metrics["accuracy/real"] - 1)
        buffers["ada"] = ada.adapted(
            buffers["ada"], sign, state.step, batch_size=batch_size, ramp_images=ramp_images
        )
    return buffers
