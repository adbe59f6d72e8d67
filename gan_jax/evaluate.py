"""Evaluation: one pass over a split, sums and counts, exact for the padded last batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Split, open_data
from gan_jax.data.pipeline import eval_batches, prefetch
from gan_jax.errors import check_choice
from gan_jax.keys import named_keys
from gan_jax.parallel import Parallel
from gan_jax.run import load
from gan_jax.spec import DataSpec
from gan_jax.state import TrainState
from gan_jax.task import Evaluation, Task
from gan_jax.workdir import check_spec, write_text

Evaluator = Callable[[TrainState, Split], dict[str, float]]


def make_evaluator(
    task: Task | Evaluation, parallel: Parallel, batch_size: int, seed: int
) -> Evaluator:
    """Return a function (state, split) -> metrics, compiled once for every pass.

    Args:
      task: the method, or one of its evaluations as `Task.evaluation` returns it.
      parallel: the devices to spread a batch over.
      batch_size: images a batch, over all devices; it does not change the result.
      seed: of the run; latents and angles drawn here are the same at every pass.
    """
    step = parallel.compile_map(task.eval_step)
    key = parallel.replicate(lambda: named_keys(seed)["evaluate"])
    shard = (jax.process_index(), jax.process_count())

    def run(state: TrainState, split: Split) -> dict[str, float]:
        totals: dict[str, Any] = {}
        for batch in prefetch(eval_batches(split, batch_size, shard), parallel.place):
            for name, value in jax.device_get(step(state, batch, key)).items():
                totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)
        return {name: float(value) for name, value in task.eval_metrics(totals).items()}

    return run


def metric_names(task: Task, spec: DataSpec, state: TrainState) -> list[str]:
    """Return the names of the metrics that a pass would give, without computing any.

    Args:
      task: the method.
      spec: of its data.
      state: real or abstract.
    """
    batch = {k: jax.ShapeDtypeStruct((1, *s.shape), s.dtype) for k, s in spec.streams.items()}
    batch["mask"] = jax.ShapeDtypeStruct((1,), jnp.float32)
    batch["index"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    totals = jax.eval_shape(task.eval_step, state, batch, named_keys(0)["evaluate"])
    return list(task.eval_metrics({name: np.ones(x.shape) for name, x in totals.items()}))


def evaluate(workdir: Path, *, checkpoint: str = "", split: str = "") -> dict[str, float]:
    """Evaluate a run on held-out data and write `eval/<step>.json`.

    Args:
      workdir: the run.
      checkpoint: "latest", "best" or a step; "" is the best where the run chose one by
        `eval.best`, else the latest.
      split: "test", "eval" or "train"; "" is "test" where the data have one, else "eval". The
        checkpoint was never chosen on "test".

    Returns:
      Metrics by name; the name ends in the split and the number of examples.
    """
    run = load(workdir, checkpoint=checkpoint)
    dataset = open_data(run.config.data)
    check_spec(workdir, dataset.spec)
    split = split or ("test" if "test" in dataset.splits else "eval")
    check_choice("--split", split, dataset.splits)
    batch_size = run.parallel.round_up(run.config.eval.batch_size)
    evaluator = make_evaluator(run.task, run.parallel, batch_size, run.config.seed)
    metrics = evaluator(run.state, dataset.splits[split])
    named = {f"{name}/{split}/{len(dataset.splits[split])}": v for name, v in metrics.items()}
    path = workdir / "eval" / f"{run.step}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    write_text(path, json.dumps({**kept, **named}, indent=2, sort_keys=True) + "\n")
    return named
