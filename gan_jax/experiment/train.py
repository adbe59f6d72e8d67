"""Train: open the data, build method and evaluator, run the loop in a run's directory."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from gan_jax.core.config import best_metric, deliberate, flatten
from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.keys import named_keys
from gan_jax.core.metric_names import log_name
from gan_jax.core.outside import trusting
from gan_jax.core.places import absolute_places, place
from gan_jax.core.state import TrainState
from gan_jax.data import Dataset, open_data
from gan_jax.evaluation.during_training import TrainingEvaluator
from gan_jax.library.run import load
from gan_jax.methods.configs import Config, from_python, load_config, resolve
from gan_jax.methods.registry import make_task
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import make_parallel
from gan_jax.platform.host import check_deterministic
from gan_jax.platform.logs import print_if_slow, quiet_libraries
from gan_jax.platform.signals import stop_on_signals
from gan_jax.rundir.changes import DATA, write_changes
from gan_jax.rundir.checkpoint import (
    Checkpoints,
    abstract_state,
    disk_errors,
    last_good,
    memory_errors,
)
from gan_jax.rundir.workdir import (
    alone,
    check_spec,
    check_workdir,
    has_begun,
    read_config,
    read_spec,
    saved_steps,
    write_record,
)
from gan_jax.rundir.writer import NoWriter, Writer
from gan_jax.training.loop import Loop
from gan_jax.training.transfer import starting_from

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, repr=False)
class Outcome:
    """The outcome of a call of `train`.

    Attributes:
      status: "trained", "interrupted" (saved, can be resumed) or "complete" (nothing was to do).
      step: step of the last checkpoint.
      seconds: time spent in the loop [s].
      can: what the run can be used for: "sample", "transform", "predict".
      pictures: whether the method writes pictures.
      best: step and value of the best checkpoint by `eval.best`; None if there is none.
      workdir: the run's directory.
      steps: the length of the training.
    """

    status: str
    step: int
    seconds: float = 0.0
    can: tuple[str, ...] = ()
    pictures: bool = False
    best: tuple[int, float] | None = None
    workdir: Path = Path()
    steps: int = 0

    def __repr__(self) -> str:
        lines = [f"{self.status}: step {self.step:,} of {self.steps:,}"]
        lines[0] += f", {self.seconds:.0f} s in the loop" if self.seconds else ""
        if self.best is not None:
            lines.append(f"best checkpoint: step {self.best[0]:,} ({self.best[1]:.4g})")
        if self.status == "interrupted":
            lines.append("the same call resumes it")
        lines.append(f"run = gan_jax.load({str(self.workdir)!r})")
        return "\n  ".join(lines)


def train(
    config: Config, workdir: str | Path, *, change: bool = False, trust_code: bool = True
) -> Outcome:
    """Train in `workdir`, or resume the run that is there.

    Args:
      config: an argument or a result of `load_config`, such as "configs/dcgan.py:digits".
      workdir: the run's directory, created if need be.
      change: whether to allow changes that affect the training from the last checkpoint on:
        learning rates, weight decay, clipping, batch size, and the files of a folder. The run's
        `changes.json` records each change and its step.
      trust_code: whether external code that the config names may be imported. Fine for your own
        config; use False for one from a stranger's run.

    Raises:
      UserError: a bad config, data, devices, workdir or disk; the last good checkpoint is kept.
    """
    quiet_libraries()
    with trusting(trust_code):
        if isinstance(config, (str, Path)):
            config = load_config(config)
        else:
            config = resolve(from_python(config))
        return _train(config, place(workdir), change=change)


def _train(config: ConfigDict, workdir: Path, *, change: bool) -> Outcome:
    check_workdir(workdir, config, change=change)
    config = absolute_places(config)
    if (last := _complete(workdir, config.train.steps)) is not None:
        return Outcome("complete", last, workdir=workdir, steps=config.train.steps)
    parallel = make_parallel(config.train.parallel, config.train.devices, config.train.fsdp)
    parallel.check_batch(
        "train.batch_size", config.train.batch_size, microbatches=config.train.microbatches
    )
    parallel.check_batch("eval.batch_size", config.eval.batch_size)
    dataset, changed = _open(config, workdir, change=change)
    hosts.barrier("checked")  # files written from here on would confuse another process's checks
    task = make_task(config, dataset.spec)
    target = abstract_state(task, parallel)
    if config.train.deterministic and parallel.platform == "gpu":
        check_deterministic()
    evaluator = TrainingEvaluator(config, task, dataset, parallel)
    _check_best(config.eval.best, evaluator, target)
    keys = parallel.replicate(lambda: named_keys(config.seed))
    start = parallel.compile_init(task.init)
    if config.train.init_from and not has_begun(workdir):
        source = Path(config.train.init_from)
        start = starting_from(load(source).state.nets, start, target, source=source)
    with (
        disk_errors(workdir),
        memory_errors(workdir, config.train, parallel.devices),
        alone(workdir) if hosts.first() else contextlib.nullcontext(),
        hosts.watching(lambda: f"{last_good(workdir)}: start all processes again to resume"),
        stop_on_signals() as stop,
    ):
        # Write files only after everything that may fail, and the record first: a run that is
        # killed at any instant can be started again.
        begun = has_begun(workdir)

        def record(step: int) -> None:
            if begun:  # before the config, by which a kill between the two writes is detected
                now = {**flatten(config), DATA: str(dataset.spec)}
                write_changes(workdir, step, changed, now)
            write_record(workdir, config, dataset.spec, [str(d) for d in jax.devices()])
            for note in task.notes:
                print(note, flush=True)

        def initial() -> tuple[TrainState, int]:
            with print_if_slow("initialising the networks ...", enabled=hosts.first()):
                return start(keys["init"]), 0

        if not begun:
            state, step = initial()
            if hosts.first():
                record(step)
        with Checkpoints(
            workdir / "checkpoints", keep=config.train.keep, best=config.eval.best
        ) as checkpoints:
            restore = lambda: checkpoints.restore(target) or initial()  # noqa: E731
            if begun:
                state, step = restore()
                if hosts.first():
                    record(step)
            with _writer(workdir, config.train.steps, step) as writer:
                metric = best_metric(config.eval.best)
                compared = [log_name("eval", metric)] if metric else []
                writer.hyper_parameters(flatten(config), compared)
                places = checkpoints, writer, restore
                loop = Loop(config, workdir, parallel, task, dataset, evaluator, *places)
                began = time.perf_counter()
                step = loop.run(state, step, keys, stop)
                best = loop.best()
    can = {"sample": task.generate, "transform": task.transforms, "predict": task.predict}
    return Outcome(
        "trained" if step == config.train.steps else "interrupted",
        step,
        time.perf_counter() - began,
        tuple(name for name, member in can.items() if member),
        task.grids is not None,
        best,
        workdir,
        config.train.steps,
    )


def _open(
    config: ConfigDict, workdir: Path, *, change: bool
) -> tuple[Dataset, dict[str, tuple[Any, Any]]]:
    """Return the training data, and the deliberate changes if this resumes a run."""
    dataset, changed = open_data(config.data), {}
    for note in dataset.spec.notes if hosts.first() else ():
        logger.warning("%s", note)
    spec = check_spec(workdir, dataset.spec, source=config.data.source, change=change)
    if has_begun(workdir):
        changed = deliberate(read_config(workdir), config)
        if not (old := read_spec(workdir)).same_data(spec):
            changed[DATA] = str(old), str(spec)
            if hosts.first():
                print(f"changed for this resume: data: {old} -> {spec}")
    return dataclasses.replace(dataset, spec=spec), changed


def _complete(workdir: Path, steps: int) -> int | None:
    """Return the last step of a run that has trained for at least `steps`; None for others."""
    folder = workdir / "checkpoints"
    if max(saved_steps(folder), default=-1) < steps:
        return None  # without verifying the files: a resume will do that
    with Checkpoints(folder, read_only=True) as checkpoints:
        last = checkpoints.latest()
    return last if last is not None and last >= steps else None


def _check_best(best: str, evaluator: TrainingEvaluator, state: TrainState) -> None:
    """Raise UserError, before training, if `eval.best` names a metric that is not measured."""
    if chosen := best_metric(best):
        names = evaluator.names(state)
        if chosen not in names:
            hint = did_you_mean(chosen, names)
            raise UserError(f"eval.best={best}: no such metric{hint}: one of {', '.join(names)}")


def _writer(workdir: Path, total: int, step: int) -> Writer | NoWriter:
    return Writer(workdir, total, resume_step=step) if hosts.first() else NoWriter()
