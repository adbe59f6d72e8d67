"""What tests ask of bfloat16: where a program sums in it, and how far gradients are apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SUMS = ("reduce_sum", "scatter-add", "scatter_add", "cumsum", "reduce_window_sum", "psum")


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr and of all that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                inner = getattr(inner, "jaxpr", inner)  # of a closed one
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def bfloat16_sums(jaxpr: Any) -> list[str]:
    """Return where a program adds bfloat16 numbers in bfloat16, a line each; see models/wide.py.

    Products of matrices and convolutions are no such sums: they accumulate in float32.
    """
    found = []
    for equation in equations(jaxpr):
        name = equation.primitive.name
        if name in SUMS and equation.invars[0].aval.dtype == jnp.bfloat16:
            summed, made = equation.invars[0].aval, equation.outvars[0].aval
            if name == "reduce_sum" and math.prod(summed.shape) == math.prod(made.shape):
                continue  # an axis of 1
            found.append(f"{name} {summed.shape} -> {made.shape}: {_where(equation)}")
    return found


def _where(equation: Any) -> str:
    """Return the lines of ours that an equation comes from, the innermost first."""
    trace = getattr(equation.source_info, "traceback", None)
    frames = [] if trace is None else trace.frames
    ours = [f for f in frames if "gan_jax" in f.file_name]
    return " < ".join(f"{f.file_name.rpartition('/')[2]}:{f.line_num}" for f in ours[:3])


def relative_errors(got: Any, expected: Any, least: float = 0.0) -> dict[str, float]:
    """Return |got - expected| / |expected| of every array, by its path.

    Args:
      got: a tree of arrays.
      expected: a tree of the same structure.
      least: arrays whose root mean square is below this share of the largest are left out. A bias
        before BatchNorm has a gradient of 0, which is rounding alone.
    """
    flat = jax.tree_util.tree_leaves_with_path(expected)
    arrays = {jax.tree_util.keystr(path): np.asarray(x, np.float64) for path, x in flat}
    others = dict(zip(arrays, map(np.asarray, jax.tree.leaves(got)), strict=True))
    size = {name: np.sqrt(np.square(x).mean()) for name, x in arrays.items()}
    return {
        name: float(np.linalg.norm(others[name] - x) / np.linalg.norm(x))
        for name, x in arrays.items()
        if size[name] > least * max(size.values())
    }
