"""Automatic choice of the number of steps per call, for `train.steps_per_call=0`.

Dispatching a call takes the host 0.1 to 0.3 ms, longer than a GPU needs for a step of a small
network. On CPU a step is never that short, and several steps per call gain nothing.

The choice depends on the program and the kind of device only, not on measured times, so a resumed
run on the same kind of device makes the same calls as an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from gan_jax.platform.chips import chip_of

logger = logging.getLogger(__name__)

CALL_SECONDS = 2e-3  # least duration of a call at peak speed: ten times the cost of dispatch
MAX_STEPS = 32


def fitting_steps(seconds: float) -> int:
    """Return the steps per call for steps of `seconds`: a power of 2, at most `MAX_STEPS`."""
    steps = 1
    while steps < MAX_STEPS and steps * seconds < CALL_SECONDS:
        steps *= 2
    return steps


def choose_steps_per_call(
    step: Any, arguments: tuple[Any, ...], *, device: Any, precision: str
) -> int:
    """Return the number of steps per call, and log it if there are several.

    Args:
      step: compiled by `Parallel.compile_step`; under pmap not traceable, and the result is 1.
      arguments: (phase, state, batch, key) of one step, or their shapes.
      device: one of the training devices.
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
    """Return the FLOPs of a program's matrix products and convolutions.

    A multiply-add counts as two; padded pixels count like others. A conditional, such as the
    platform-dependent forms of a convolution, counts its most expensive branch; a loop of unknown
    length one iteration. (XLA's own count, `Lowered.cost_analysis`, is missing on GPUs and TPUs.)

    Args:
      jaxpr: closed or open; that of one device if it is mapped over several.
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
