"""How many steps one dispatch takes where `train.steps_per_call` is 0.

Dispatching a call takes 0.1 to 0.3 ms of the host, during which a GPU has long finished the step of
a small network. On CPU a step is never that short, and taking several at once wins nothing.

The choice follows from the program and the kind of device alone, by no clock: a run that is
continued on such a device makes the calls of the unbroken one.
"""

from __future__ import annotations

import logging
from typing import Any

from gan_jax.topology import chip_of

logger = logging.getLogger(__name__)

CALL_SECONDS = 2e-3  # of arithmetic at peak that a call should have, ten times what it costs
MOST = 32


def fitting_steps(seconds: float) -> int:
    """Return how many steps of so many seconds a call takes: a power of 2, at most MOST."""
    steps = 1
    while steps < MOST and steps * seconds < CALL_SECONDS:
        steps *= 2
    return steps


def choose_steps_per_call(
    step: Any, arguments: tuple[Any, ...], *, device: Any, precision: str, repeats: int
) -> int:
    """Return the steps of one dispatch, and say so in the log where they are several.

    Args:
      step: compiled by `Parallel.compile_step`; under pmap it cannot be traced, and takes 1.
      arguments: (phase, state, batch, key) of one step, or their shapes.
      device: of those that train.
      precision: "float32" or "bfloat16".
      repeats: of what XLA counts once, which loops over microbatches and updates repeat.
    """
    if device.platform == "cpu" or not hasattr(step, "trace"):
        return 1
    chip = chip_of(device.device_kind)
    counted = step.trace(*arguments).lower().cost_analysis()
    if chip is None or not counted:
        return 1
    seconds = repeats * counted["flops"] / chip.peak(precision)
    if (steps := fitting_steps(seconds)) > 1:
        logger.info(
            "%d steps a dispatch: one is %.2f ms of arithmetic for this device at best"
            " (--config.train.steps_per_call=N takes N)",
            *(steps, 1e3 * seconds),
        )
    return steps
