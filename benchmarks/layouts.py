"""A train step whose state has compiler-chosen layouts, for gpu_plan.py and accelerator.py.

benchmarks/RESULTS.md explains why this is not in the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.layout import Format, Layout

from gan_jax.parallel.mesh import Parallel


class AutomaticLayouts(Parallel):
    """Compiles steps that take and return the state in layouts chosen by the compiler.

    Such a step must be compiled ahead of time: `step.trace(phase, state, batch, key).lower()
    .compile()`, and called as `compiled(state, batch, key)` with a state from `lay`.
    """

    def compile_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile as `Parallel` does; batch and key have their usual layouts."""
        whole = super().compile_step(step).__wrapped__
        auto = Format(Layout.AUTO)
        return jax.jit(
            whole,
            static_argnums=0,
            donate_argnums=1,
            in_shardings=(auto, None, None),
            out_shardings=(auto, None),
        )


def lay(state: Any, compiled: jax.stages.Compiled) -> Any:
    """Return the state in the layouts that a compiled step takes and returns."""
    (formats, *_), _ = compiled.input_formats
    if jax.tree.leaves(formats) != jax.tree.leaves(compiled.output_formats[0]):
        raise ValueError("the step returns the state in other layouts than it takes it in")
    return jax.device_put(state, formats)
