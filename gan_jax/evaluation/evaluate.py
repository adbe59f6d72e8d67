"""Evaluation of a run: its task's own metrics, and metrics requested by name."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.core.config import check_seed
from gan_jax.core.errors import UserError, check_choice, did_you_mean
from gan_jax.core.images import save_png
from gan_jax.core.metric_names import MetricName
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Task
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.evaluation.measurement import Measurement
from gan_jax.evaluation.measures import MEASURES, VALUE_NAMES
from gan_jax.evaluation.protocol import RUN_MEASURES, Measured, Request, check_metrics, check_used
from gan_jax.evaluation.run_measures import measure_run
from gan_jax.library.run import load
from gan_jax.metrics.confusion import Confusion
from gan_jax.parallel import hosts
from gan_jax.rundir.workdir import write_text

logger = logging.getLogger(__name__)


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

    `eval/<step>.about.json` records, under the same names, what each value was computed from (seed,
    fingerprints of data and weights, notes).

    Args:
      workdir: the run directory.
      checkpoint: "latest", "best" or a step; "" for the best if the run selects one by
        `eval.best`, else the latest.
      split: "test", "eval" or "train"; "" for "test" if the data have one, else "eval". Checkpoints
        are never selected on "test", unless a folder has no other images for "eval".
      request: the metrics; None for the task's own evaluation.
      seed: seed of the generated images; image i equals that of `run.sample(..., seed=seed)`.
      options: options of the task for generated images, or of its evaluations.
      data, change: as in `gan_jax.load`: where the data are now, and whether they may have changed.

    Raises:
      UserError: for metrics that the task does not have, too few images, or missing data.
    """
    check_seed("seed", seed)
    run = load(workdir, checkpoint=checkpoint, data=data, change=change)
    spec = run.dataset.spec if change else run.spec  # of the evaluated data
    batch_size = run.parallel.round_up(run.config.eval.batch_size)
    names = request.metrics if request else ()
    check_metrics(names, run.task)
    if request:
        check_used(request)
    image_metrics = tuple(name for name in names if name in MEASURES)
    whole = [name for name in names if name in RUN_MEASURES]
    passing = [name for name in names if name not in (*MEASURES, *RUN_MEASURES)]
    if whole and hosts.several():
        raise UserError(
            f"--metrics={','.join(whole)} is measured by one process: leave --coordinator out, or"
            f" {whole[0]}"
        )
    draws = bool(image_metrics or whole)
    for_passes, for_images = _share_options(run.task, passing, draws, options or {})
    measurement = None
    if image_metrics:
        measurement = Measurement(
            dataclasses.replace(request, metrics=image_metrics),
            run.task,
            spec,
            run.parallel,
            batch_size=batch_size,
            train_batch_size=run.config.train.batch_size,
            options=for_images,
            held_out=run.held_out,
        )
    examples = None
    if not names or passing or (image_metrics and (measurement.needs_data or not request.num)):
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
        for part in examples.parts.values():
            _add_pass(measured, evaluator(run.state, part), (split, len(part)), spec)
    if measurement is not None:
        key = run.parallel.replicate(lambda: jax.random.key(seed))
        measured_images = measurement(run.state, key, seed, split, examples)
        measured.notes += measured_images.notes
        for name, value in measured_images.values.items():
            measured.add({name: value}, seed=seed, **measured_images.about[name])
    for name in whole:
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
            stem = MetricName.parse(name).file_stem
            save_png(folder / f"{run.step}_{stem}.png", matrix.picture())
    return measured


def _add_pass(
    measured: Measured, found: Mapping[str, Any], protocol: tuple[str, int], spec: DataSpec
) -> None:
    """Add the results of one of the task's own evaluations.

    Named metrics round images to 256 grey levels and draw their own latents. Where the task's own
    evaluation has a metric of the same name, its value is marked "unrounded".
    """
    for name, value in found.items():
        full = MetricName.parse(name).extended(*protocol)
        if np.ndim(value):
            measured.matrices[str(full)] = Confusion(spec.class_names, value)
            continue
        full = full.extended("unrounded") if name in VALUE_NAMES else full
        measured.add({str(full): value}, data=spec.fingerprint)


def _share_options(
    task: Task, passing: Sequence[str], draws: bool, given: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the options of each of the task's evaluations, and those for generating images.

    Raises:
      UserError: for an option that none of the requested metrics has.
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
    """Add entries to a JSON file."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    write_text(path, json.dumps({**kept, **found}, indent=2, sort_keys=True) + "\n")
