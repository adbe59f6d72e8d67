"""How many steps one dispatch takes where `train.steps_per_call` is 0.

Dispatching a call takes 0.1 to 0.3 ms of the host, during which a GPU has long finished the step of
a small network. On CPU a step is never that short, and taking several at once wins nothing.

The choice follows from the program and the kind of device alone, by no clock: a run that is
continued on such a device makes the calls of the unbroken one.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from gan_jax.platform.chips import chip_of

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
    step: Any, arguments: tuple[Any, ...], *, device: Any, precision: str
) -> int:
    """Return the steps of one dispatch, and say so in the log where they are several.

    Args:
      step: compiled by `Parallel.compile_step`; under pmap it cannot be traced, and takes 1.
      arguments: (phase, state, batch, key) of one step, or their shapes.
      device: of those that train.
      precision: "float32" or "bfloat16".
    """
    chip = None if device.platform == "cpu" else chip_of(device.device_kind)
    if chip is None or not hasattr(step, "trace"):
        return 1
    seconds = product_flops(step.trace(*arguments).jaxpr) / chip.peak(precision)
    if (steps := fitting_steps(seconds)) > 1:
        logger.info(
            "%d steps a dispatch: one is %.2f ms of arithmetic for this device at best"
            " (--config.train.steps_per_call=N takes N)",
            *(steps, 1e3 * seconds),
        )
    return steps


def product_flops(jaxpr: Any) -> float:
    """Return the operations of a program's products of matrices and convolutions.

    A multiply-add is two; padding counts as pixels do. Of a conditional, such as the forms of a
    convolution by platform, the longest branch counts; of a loop without a known length one turn.
    (XLA's own count, `Lowered.cost_analysis`, is not there on GPUs and TPUs.)

    Args:
      jaxpr: closed or open; of one device, if it is mapped over several.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            terms = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(terms)
        elif name == "conv_general_dilated":
            kernel, outputs = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec[0]
            terms = math.prod(kernel) / kernel[outputs] / math.prod(params["lhs_dilation"])
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * terms
        else:
            values = (v if isinstance(v, (tuple, list)) else [v] for v in params.values())
            inner = [product_flops(v) for group in values for v in group if _is_program(v)]
            times = params["length"] if name == "scan" else 1
            total += max(inner, default=0.0) if name == "cond" else times * sum(inner)
    return total


def _is_program(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")
