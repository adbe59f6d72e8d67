"""A task's own evaluation: one pass over a split, exact despite the padded last batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.keys import named_keys
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Evaluation, Task
from gan_jax.data import Split
from gan_jax.data.pipeline import eval_batches, prefetch
from gan_jax.parallel.mesh import Parallel

Evaluator = Callable[[TrainState, Split], dict[str, Any]]


def make_evaluator(
    task: Task | Evaluation, parallel: Parallel, batch_size: int, seed: int
) -> Evaluator:
    """Return a function (state, split) -> metrics, compiled once and reused for every split.

    Metrics are floats, except for matrices such as confusion matrices.

    Args:
      task: the method, or one of its evaluations as returned by `Task.evaluation`.
      parallel: the devices that share a batch.
      batch_size: images per batch, over all devices; it does not change the result.
      seed: seed of the run; random draws of the evaluation are the same at every call.
    """
    step = parallel.compile_map(task.eval_step)
    key = parallel.replicate(lambda: named_keys(seed)["evaluate"])
    shard = (jax.process_index(), jax.process_count())

    def run(state: TrainState, split: Split) -> dict[str, Any]:
        totals: dict[str, Any] = {}
        for batch in prefetch(eval_batches(split, batch_size, shard), parallel.place):
            for name, value in jax.device_get(step(state, batch, key)).items():
                totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)
        found = task.eval_metrics(totals).items()
        return {name: value if np.ndim(value) else float(value) for name, value in found}

    return run


def metric_names(task: Task | Evaluation, spec: DataSpec, state: TrainState) -> list[str]:
    """Return the names of the scalar metrics of an evaluation, without computing them.

    Args:
      task: the method.
      spec: spec of its data.
      state: real or abstract.
    """
    names = []
    for streams in spec.domains(training=False):
        batch = {k: jax.ShapeDtypeStruct((1, *s.shape), s.dtype) for k, s in streams.items()}
        batch["mask"] = jax.ShapeDtypeStruct((1,), jnp.float32)
        batch["index"] = jax.ShapeDtypeStruct((1,), jnp.int32)
        totals = jax.eval_shape(task.eval_step, state, batch, named_keys(0)["evaluate"])
        found = task.eval_metrics({name: np.ones(x.shape) for name, x in totals.items()})
        names += [name for name, value in found.items() if not np.ndim(value)]
    return names
