"""Evaluation: what a task says of a split in one pass, and metrics by name that look at images.

A pass gives sums and counts, exact for the padded last batch.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax import hosts
from gan_jax.config import check_seed, split_names
from gan_jax.confusion import Confusion
from gan_jax.data import Dataset, Split
from gan_jax.data.pipeline import eval_batches, prefetch
from gan_jax.errors import UserError, check_choice, did_you_mean
from gan_jax.images import save_png
from gan_jax.keys import named_keys
from gan_jax.measurement import Measurement
from gan_jax.measures import GIVEN, MEASURES
from gan_jax.parallel import Parallel
from gan_jax.protocol import RUN_MEASURES, Measured, Request, check_metrics, check_used
from gan_jax.run import load
from gan_jax.spec import DataSpec
from gan_jax.state import TrainState
from gan_jax.task import Evaluation, Task
from gan_jax.workdir import write_text

logger = logging.getLogger(__name__)

Evaluator = Callable[[TrainState, Split], dict[str, Any]]


def make_evaluator(
    task: Task | Evaluation, parallel: Parallel, batch_size: int, seed: int
) -> Evaluator:
    """Return a function (state, split) -> metrics, compiled once for every pass.

    Metrics are floats, but for matrices.

    Args:
      task: the method, or one of its evaluations as `Task.evaluation` returns it.
      parallel: the devices to spread a batch over.
      batch_size: images a batch, over all devices; it does not change the result.
      seed: of the run; latents and angles drawn here are the same at every pass.
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


class TrainingEvaluator:
    """What is measured at `eval.every`: the task's own metrics, and `eval.metrics` beside them.

    Args:
      config: of the run.
      task: the method.
      dataset: its data; split "eval" is measured.
      parallel: the devices.

    Raises:
      UserError: metrics that the task lacks, too few images, or no feature network.
    """

    def __init__(
        self, config: ConfigDict, task: Task, dataset: Dataset, parallel: Parallel
    ) -> None:
        self._config, self._task, self._spec = config, task, dataset.spec
        self._split = dataset.splits["eval"]
        names = split_names("eval.metrics", config.eval.metrics)
        check_metrics(names, task, training=True)
        self._passes: list[Task | Evaluation] = [task]
        self._passes += [task.evaluation(name) for name in names if name not in MEASURES]
        size, seed = config.eval.batch_size, config.seed
        self._evaluators = [make_evaluator(one, parallel, size, seed) for one in self._passes]
        self._looking = tuple(name for name in names if name in MEASURES)
        self._measurement, self._said = None, False
        if self._looking:
            self._measurement = Measurement(
                Request(self._looking, features=config.eval.features, num=config.eval.num),
                task,
                dataset.spec,
                parallel,
                batch_size=size,
                train_batch_size=config.train.batch_size,
            )
            self._measurement.numbers(len(self._split))
            self._key = parallel.replicate(lambda: named_keys(seed)["measure"])

    def names(self, state: TrainState) -> list[str]:
        """Return what `eval.best` may name; `state` may be abstract."""
        found = [n for one in self._passes for n in metric_names(one, self._spec, state)]
        return found + [given for name in self._looking for given in MEASURES[name].gives]

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Return metrics by name; those that look at images have their protocol in it."""
        found: dict[str, float] = {}
        for evaluator in self._evaluators:
            values = evaluator(state, self._split).items()
            found.update({name: value for name, value in values if not np.ndim(value)})
        if self._measurement is not None:
            seed = self._config.seed
            measured = self._measurement(state, self._key, seed, "eval", self._split)
            found.update(measured.values)
            if hosts.first() and not self._said:
                for note in measured.notes:
                    logger.warning("eval.metrics: %s", note)
            self._said = True
        return found


def without_protocol(name: str) -> str:
    """Return the name that `eval.best` has for a metric: "fid/cnn:RUN/eval/1000" -> "fid"."""
    first = name.partition("/")[0]
    return first if first in GIVEN else name


def metric_names(task: Task | Evaluation, spec: DataSpec, state: TrainState) -> list[str]:
    """Return the names of the numbers that a pass would give, without computing any.

    Args:
      task: the method.
      spec: of its data.
      state: real or abstract.
    """
    batch = {k: jax.ShapeDtypeStruct((1, *s.shape), s.dtype) for k, s in spec.streams.items()}
    batch["mask"] = jax.ShapeDtypeStruct((1,), jnp.float32)
    batch["index"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    totals = jax.eval_shape(task.eval_step, state, batch, named_keys(0)["evaluate"])
    found = task.eval_metrics({name: np.ones(x.shape) for name, x in totals.items()})
    return [name for name, value in found.items() if not np.ndim(value)]


def evaluate(
    workdir: Path,
    *,
    checkpoint: str = "",
    split: str = "",
    request: Request | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    change: bool = False,
) -> Measured:
    """Evaluate a run and add the result to `eval/<step>.json`.

    What each number was made with stands in `eval/<step>.about.json`, under the same names.

    Args:
      workdir: the run.
      checkpoint: "latest", "best" or a step; "" is the best where the run chose one by
        `eval.best`, else the latest.
      split: "test", "eval" or "train"; "" is "test" where the data have one, else "eval". The
        checkpoint was never chosen on "test", unless a folder has no other images for "eval".
      request: the metrics; None for those that the task has without being asked.
      seed: of the images generated; image i is that of `run.sample(..., seed=seed)`.
      options: of the task, for the images generated; or of its evaluations.
      data, change: as of `gan_jax.load`: where the data are now, and whether they may have changed.

    Raises:
      UserError: metrics that the task lacks, too few images, or data that are not there.
    """
    check_seed("seed", seed)
    run = load(workdir, checkpoint=checkpoint, data=data, change=change)
    spec = run.dataset.spec if change else run.spec  # of what is measured
    batch_size = run.parallel.round_up(run.config.eval.batch_size)
    names = request.metrics if request else ()
    check_metrics(names, run.task)
    if request:
        check_used(request)
    looking = tuple(name for name in names if name in MEASURES)
    whole = [name for name in names if name in RUN_MEASURES]
    passing = [name for name in names if name not in (*MEASURES, *RUN_MEASURES)]
    if whole and hosts.several():
        raise UserError(
            f"--metrics={','.join(whole)} is measured by one process: leave --coordinator out, or"
            f" {whole[0]}"
        )
    draws = bool(looking or whole)
    for_passes, for_images = _share_options(run.task, passing, draws, options or {})
    measurement = None
    if looking:
        measurement = Measurement(
            dataclasses.replace(request, metrics=looking),
            run.task,
            spec,
            run.parallel,
            batch_size=batch_size,
            train_batch_size=run.config.train.batch_size,
            options=for_images,
            held_out=run.held_out,
        )
    examples = None
    if not names or passing or (looking and (measurement.needs_data or not request.num)):
        splits = run.dataset.splits
        split = split or ("test" if "test" in splits else "eval")
        check_choice("--split", split, splits)
        examples = splits[split]
    measured = Measured()
    if not spec.same_data(run.spec):
        measured.notes.append(f"the data have changed since the training: {run.spec} -> {spec}")
    passes = [run.task.evaluation(name, **for_passes[name]) for name in passing]
    for one in passes if names else [run.task]:
        evaluator = make_evaluator(one, run.parallel, batch_size, run.config.seed)
        named = f"{split}/{len(examples)}"
        _add_pass(measured, evaluator(run.state, examples), named, spec)
    if measurement is not None:
        key = run.parallel.replicate(lambda: jax.random.key(seed))
        looked = measurement(run.state, key, seed, split, examples)
        measured.notes += looked.notes
        for name, value in looked.values.items():
            measured.add({name: value}, seed=seed, **looked.about[name])
    for name in whole:
        from gan_jax.run_measures import measure_run  # which trains, and so imports this file

        found = measure_run(name, run, request, seed=seed, split=split, options=for_images)
        measured.add(found, seed=seed)
    if hosts.first():
        folder = run.workdir / "eval"
        _add(folder / f"{run.step}.json", measured.values)
        _add(folder / f"{run.step}.about.json", measured.about)
        matrices = {name: matrix.to_dict() for name, matrix in measured.matrices.items()}
        if matrices:
            _add(folder / f"{run.step}.matrices.json", matrices)
        for name, matrix in measured.matrices.items():
            save_png(folder / f"{run.step}_{name.replace('/', '_')}.png", matrix.picture())
    return measured


def _add_pass(measured: Measured, found: Mapping[str, Any], protocol: str, spec: DataSpec) -> None:
    """Take what a pass of the task gave.

    What metrics by name measure too, they measure of images rounded to 256 levels, and with draws
    of their own: the number of a pass has another name.
    """
    for name, value in found.items():
        if np.ndim(value):
            measured.matrices[f"{name}/{protocol}"] = Confusion(spec.class_names, value)
            continue
        unlike = "/unrounded" if name in GIVEN else ""
        measured.add({f"{name}/{protocol}{unlike}": value}, data=spec.fingerprint)


def _share_options(
    task: Task, passing: Sequence[str], draws: bool, given: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return which options are for which evaluation, and which for generating images.

    Raises:
      UserError: an option that nothing asked for has.
    """
    for_passes = {
        name: {k: v for k, v in given.items() if k in task.evaluations[name].options}
        for name in passing
    }
    for_images = {k: v for k, v in given.items() if draws and k in task.options}
    known = {*for_images, *(k for found in for_passes.values() for k in found)}
    for name in given:
        if name not in known:
            able = set(task.options if draws else ())
            able |= {k for p in passing for k in task.evaluations[p].options}
            raise UserError(
                f"--mode=eval takes no --{name} for these metrics"
                f"{did_you_mean(name, able)} (it takes {', '.join(sorted(able)) or 'no options'})"
            )
    return for_passes, for_images


def _add(path: Path, found: Mapping[str, Any]) -> None:
    """Add entries to a file of JSON."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    write_text(path, json.dumps({**kept, **found}, indent=2, sort_keys=True) + "\n")
