"""Evaluation of a run: what its task says of a split in one pass, and metrics by name."""

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
from gan_jax.evaluation.measures import GIVEN, MEASURES
from gan_jax.evaluation.protocol import RUN_MEASURES, Measured, Request, check_metrics, check_used
from gan_jax.evaluation.run_measures import measure_run
from gan_jax.library.run import load
from gan_jax.metrics.confusion import Confusion
from gan_jax.parallel import hosts
from gan_jax.runs.workdir import write_text

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
        for part in examples.parts.values():
            _add_pass(measured, evaluator(run.state, part), (split, len(part)), spec)
    if measurement is not None:
        key = run.parallel.replicate(lambda: jax.random.key(seed))
        looked = measurement(run.state, key, seed, split, examples)
        measured.notes += looked.notes
        for name, value in looked.values.items():
            measured.add({name: value}, seed=seed, **looked.about[name])
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
    """Take what a pass of the task gave.

    What metrics by name measure too, they measure of images rounded to 256 levels, and with draws
    of their own: the number of a pass has another name.
    """
    for name, value in found.items():
        full = MetricName.parse(name).extended(*protocol)
        if np.ndim(value):
            measured.matrices[str(full)] = Confusion(spec.class_names, value)
            continue
        full = full.extended("unrounded") if name in GIVEN else full
        measured.add({str(full): value}, data=spec.fingerprint)


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
