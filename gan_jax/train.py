"""The loop: restore -> batch -> step -> log -> evaluate -> sample -> checkpoint. Knows no method.

What happens at a step depends on the step's number alone, and what a step computes on the state,
(seed, position) and the step's own key, so that a killed run continues as if it had not been.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan_jax import health, hosts
from gan_jax.ahead import Ahead
from gan_jax.augment.real import Prepare, make_prepare
from gan_jax.axes import loop
from gan_jax.calls import plan_calls
from gan_jax.changes import DATA, write_changes
from gan_jax.checkpoint import Checkpoints, disk_errors, kept, memory_errors
from gan_jax.config import best_metric, deliberate, flatten
from gan_jax.data import Dataset, open_data
from gan_jax.data.dataset import as_floats
from gan_jax.data.pipeline import eval_batches
from gan_jax.data.resident import Resident
from gan_jax.dispatch import choose_steps_per_call
from gan_jax.errors import UserError, did_you_mean
from gan_jax.evaluate import TrainingEvaluator, without_protocol
from gan_jax.feed import abstract_batch, feed
from gan_jax.host import check_deterministic
from gan_jax.images import grid, save_png
from gan_jax.keys import named_keys
from gan_jax.learning_rates import LearningRates
from gan_jax.logs import said_if_long
from gan_jax.parallel import Parallel, make_parallel
from gan_jax.places import absolute_places
from gan_jax.run import abstract_state
from gan_jax.signals import stop_on_signals
from gan_jax.speed import Reading, Speedometer
from gan_jax.state import TrainState
from gan_jax.task import Batch, Key, Metrics, Phase, Task, make_task
from gan_jax.transfer import starting_from
from gan_jax.workdir import (
    alone,
    check_spec,
    check_workdir,
    has_begun,
    read_config,
    read_spec,
    saved_steps,
    write_record,
)
from gan_jax.writer import NoWriter, Writer

logger = logging.getLogger(__name__)

ROLLBACKS = 3  # most of them in a row, without a good checkpoint between


class NotFinite(Exception):
    """A number of the training that is none."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
      status: "trained", "interrupted" (saved, can be resumed) or "complete" (nothing was to do).
      step: the last checkpoint's.
      seconds: spent in the loop.
      can: what the run can be used for: "sample", "transform".
      pictures: whether it has made some.
      best: step and value of the best checkpoint by `eval.best`; None where there is none.
    """

    status: str
    step: int
    seconds: float = 0.0
    can: tuple[str, ...] = ()
    pictures: bool = False
    best: tuple[int, float] | None = None


def make_step(task: Task, batch_size: int, prepare: Prepare | None = None) -> Any:
    """Wrap a task's train step with what is the same for all: its key, `step` and `position`.

    Args:
      task: of the run.
      batch_size: images a draw, over all devices.
      prepare: see `augment.real`; None leaves images as they are stored.

    The function returned takes as many steps as its batch, [steps * draws, B, ...], holds, and
    returns the metrics of the last. Images of the batch are uint8 as stored, or float32 in [-1, 1].
    """

    def step(
        phase: Phase, state: TrainState, batch: Batch | Resident, key: Key
    ) -> tuple[TrainState, Metrics]:
        if isinstance(batch, Resident):
            batch = batch.gather(state.position, batch_size)

        def one(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
            if prepare is not None:
                batch = prepare(batch, key, state.position)
            # `state` has the old step until here, whatever the task reads it for.
            new, metrics = task.train_step(phase, state, batch, jax.random.fold_in(key, state.step))
            drawn = np.uint32(phase.draws * batch_size)
            return new.replace(step=state.step + 1, position=state.position + drawn), metrics

        batches = jax.tree.map(lambda x: x.reshape(-1, phase.draws, *x.shape[1:]), as_floats(batch))
        state, metrics = loop(one, state, batches)
        return state, metrics[-1]

    return step


def train(config: ConfigDict, workdir: Path, *, change: bool = False) -> Outcome:
    """Train, or continue a training, in `workdir`.

    Args:
      config: as of `gan_jax.config.load_config`, already checked.
      workdir: created if need be; a run that is there is continued.
      change: whether what changes the training may differ from the last checkpoint on: learning
        rates, weight decay, clipping, batch size, and the files of a folder. `changes.json` of the
        run says what did, and from which step.

    Raises:
      UserError: bad data, devices, workdir or disk; the last good checkpoint is kept.
    """
    check_workdir(workdir, config, change=change)
    config = absolute_places(config)
    if (last := _complete(workdir, config.train.steps)) is not None:
        return Outcome("complete", last)
    parallel = make_parallel(config.train.parallel, config.train.devices, config.train.fsdp)
    parallel.check_batch(
        "train.batch_size", config.train.batch_size, microbatches=config.train.microbatches
    )
    parallel.check_batch("eval.batch_size", config.eval.batch_size)
    dataset, changed = _open(config, workdir, change=change)
    hosts.barrier("checked")  # what is written from here on would confuse the checks above
    task = make_task(config, dataset.spec)
    target = abstract_state(task, parallel)
    if config.train.deterministic and parallel.platform == "gpu":
        check_deterministic()
    evaluator = TrainingEvaluator(config, task, dataset, parallel)
    _check_best(config.eval.best, evaluator, target)
    keys = parallel.replicate(lambda: named_keys(config.seed))
    start = parallel.compile_init(task.init)
    if config.train.init_from and not has_begun(workdir):
        start = starting_from(Path(config.train.init_from), start, target)
    with (
        disk_errors(workdir),
        memory_errors(workdir, config.train, parallel.devices),
        alone(workdir) if hosts.first() else contextlib.nullcontext(),
        hosts.watching(lambda: f"{kept(workdir)}: start all processes again to resume"),
        stop_on_signals() as stop,
    ):
        # Whatever is written comes after what may fail, and the record before all else: a run that
        # is killed at any instant can be started again.
        begun = has_begun(workdir)

        def record(step: int) -> None:
            if begun:  # before the config: what a kill between the two leaves is told by it
                now = {**flatten(config), DATA: str(dataset.spec)}
                write_changes(workdir, step, changed, now)
            write_record(workdir, config, dataset.spec, [str(d) for d in jax.devices()])
            for note in task.notes:
                print(note, flush=True)

        def initial() -> tuple[TrainState, int]:
            with said_if_long("initialising the networks ...", by_us=hosts.first()):
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
                writer.hyper_parameters(flatten(config), [f"eval/{metric}"] if metric else [])
                places = checkpoints, writer, restore
                loop = _Loop(config, workdir, parallel, task, dataset, evaluator, *places)
                began = time.perf_counter()
                step = loop.run(state, step, keys, stop)
                best = loop.best()
    can = {"sample": task.generate, "transform": task.transform}
    return Outcome(
        "trained" if step == config.train.steps else "interrupted",
        step,
        time.perf_counter() - began,
        tuple(name for name, member in can.items() if member is not None),
        task.grids is not None,
        best,
    )


def _open(
    config: ConfigDict, workdir: Path, *, change: bool
) -> tuple[Dataset, dict[str, tuple[Any, Any]]]:
    """Return the data to train on, and what changes on purpose in the run that is there."""
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
    """Return the last step of a run that has trained for so many; None where it has not."""
    folder = workdir / "checkpoints"
    if max(saved_steps(folder), default=-1) < steps:
        return None  # without a look at what is in the files: a resume will take one
    with Checkpoints(folder, read_only=True) as checkpoints:
        last = checkpoints.latest()
    return last if last is not None and last >= steps else None


def _check_best(best: str, evaluator: TrainingEvaluator, state: TrainState) -> None:
    """Raise UserError if `eval.best` names nothing that is measured, before anything is trained."""
    if chosen := best_metric(best):
        names = evaluator.names(state)
        if chosen not in names:
            hint = did_you_mean(chosen, names)
            raise UserError(f"eval.best={best}: no such metric{hint}: one of {', '.join(names)}")


def _writer(workdir: Path, total: int, step: int) -> Writer | NoWriter:
    return Writer(workdir, total, resume_step=step) if hosts.first() else NoWriter()


class _Loop:
    """One training: the compiled functions and where their results go."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        parallel: Parallel,
        task: Task,
        dataset: Dataset,
        evaluator: TrainingEvaluator,
        checkpoints: Checkpoints,
        writer: Writer | NoWriter,
        restore: Callable[[], tuple[TrainState, int]],
    ) -> None:
        self.config, self.workdir, self.parallel = config, workdir, parallel
        self.task, self.spec, self.splits = task, dataset.spec, dataset.splits
        self.checkpoints, self.writer = checkpoints, writer
        self.restore = restore  # the last good state and its step, or the initial one
        prepare = make_prepare(flip=config.data.flip, dequantize=config.data.dequantize)
        self.compiled = parallel.compile_step(make_step(task, config.train.batch_size, prepare))
        self.evaluator = evaluator
        self.compute_finite = parallel.compile_map(health.finite)
        self.signs = health.Signs(parallel, dataset.splits["eval"])
        self.grids = parallel.compile_map(task.grids) if task.grids else None
        # Fetched when the next ones are due, so that logging never waits for the device.
        self.pending: tuple[int, Metrics, Reading] | None = None
        self.rates = LearningRates(config, task.modules)
        self.drawn = 0  # examples: the position of the state that was made last
        self.rollbacks = 0  # since the last good checkpoint
        self.stopping = False

    def run(self, state: TrainState, step: int, keys: dict[str, Key], stop: list[int]) -> int:
        """Train from `step` to the end, or to a signal; return the step that was saved last."""
        while True:
            try:
                return self.go_on(state, step, keys, stop)
            except NotFinite as error:
                state, step = self.roll_back(str(error))

    def go_on(self, state: TrainState, step: int, keys: dict[str, Key], stop: list[int]) -> int:
        """Train as `run` does; raise NotFinite at a number that is none."""
        config, total = self.config.train, self.config.train.steps
        self.drawn = int(state.position)
        happens = (config.log_every, config.save_every, config.sample_every, self.config.eval.every)
        calls = functools.partial(
            plan_calls,
            self.task.phase,
            start=step,
            total=total,
            steps_per_call=self.steps_per_call(state, keys["train"]),
            intervals=happens,
        )
        split, draws = self.splits["train"], (call.draws for call in calls())
        fed = feed(split, self.parallel, self.config, position=self.drawn, draws=draws)
        speed, ahead, known = Speedometer(), Ahead(), set()
        with contextlib.closing(fed):
            for call in calls():
                batch = speed.take(fed, call.draws * config.batch_size)
                program = call.phase, call.draws
                with contextlib.nullcontext() if program in known else self.said_if_compiling():
                    state, metrics = self.compiled(call.phase, state, batch, keys["train"])
                if not known:  # what is measured from here on is not compilation
                    jax.block_until_ready(metrics)
                    self.writer.compiled(call.end)
                    if call.end % config.log_every and call.end < total:
                        speed.restart()
                known.add(program)
                ahead.wait(metrics)
                step, last = call.end, call.end == total
                self.drawn = (self.drawn + call.draws * config.batch_size) % 2**32
                # Asked once a call: what stops here is also saved here. Several processes agree
                # when they log.
                if not hosts.several():
                    self.stopping = bool(stop)
                elif step % config.log_every == 0:
                    jax.block_until_ready(metrics)  # collectives of two programs must not mix
                    self.stopping = hosts.any_of(bool(stop))
                if step % config.log_every == 0 or last:
                    self.log(step, metrics, speed.read(metrics))
                evaluated = self.due(step, self.config.eval.every)
                sampled = self.due(step, config.sample_every) or last
                if evaluated or sampled or step % config.save_every == 0 or last or self.stopping:
                    self.flush()
                    self.require_finite(step, {**metrics, **self.compute_finite(state)})
                    found = self.evaluate(step, state) if evaluated else None
                    if sampled:
                        self.sample(step, state, keys["grids"])
                    self.writer.end_step()
                    self.checkpoints.save(step, state, found)
                    self.rollbacks = 0
                    self.writer.flush()
                    speed.restart()
                if self.stopping:
                    break
        self.checkpoints.wait()
        return step

    def steps_per_call(self, state: TrainState, key: Key) -> int:
        """Return the most steps in one dispatch."""
        config, phase = self.config.train, self.task.phase(self.config.train.steps - 1)
        if config.steps_per_call:
            return config.steps_per_call
        batch = abstract_batch(self.spec, phase, self.parallel, config.batch_size)
        return choose_steps_per_call(
            self.compiled,
            (phase, state, batch, key),
            device=self.parallel.mesh.devices.flat[0],
            precision=config.precision,
        )

    @staticmethod
    def due(step: int, every: int) -> bool:
        """Return whether something that happens each `every` steps, 0 for never, is due."""
        return every > 0 and step % every == 0

    @staticmethod
    def said_if_compiling() -> contextlib.AbstractContextManager[None]:
        """Say that the step is compiled, if that takes long and no progress bar says so."""
        by_us = hosts.first() and not sys.stderr.isatty()
        return said_if_long("compiling the step ...", by_us=by_us)

    def log(self, step: int, metrics: Metrics, speed: Reading) -> None:
        """Take the metrics of this step, and write those that were taken before."""
        self.flush()
        self.writer.end_step()
        for value in metrics.values():
            value.copy_to_host_async()
        self.pending = (step, metrics, speed)

    def flush(self) -> None:
        """Write the metrics that wait; stop the run at a number that is none."""
        if self.pending is None:
            return
        step, metrics, speed = self.pending
        self.pending = None
        values = {name: float(value) for name, value in metrics.items()}
        self.writer.scalars(step, values, progress={**speed.values(), **self.rates.at(step)})
        self.require_finite(step, values)

    def require_finite(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Raise NotFinite at a number that is none, before a checkpoint is made of it."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NotFinite(f"{name} is {float(value)} at step {step}")

    def roll_back(self, reason: str) -> tuple[TrainState, int]:
        """Return the last good state and its step, past the examples that were drawn since.

        That is how PaLM's training went past its spikes (arXiv:2204.02311, section 5.1). It depends
        on nothing but steps, so that a run that is killed meanwhile does the same again.

        Raises:
          UserError: to stop instead: so says `train.on_nan`, or going back did not help.
        """
        self.checkpoints.wait()
        last = self.checkpoints.latest()
        # A signal looks at numbers where an unbroken run does not: going back is left to a resume.
        if self.config.train.on_nan == "stop" or self.stopping or self.rollbacks == ROLLBACKS:
            there = "there is no checkpoint" if last is None else f"checkpoint {last} is kept"
            often = f" after {ROLLBACKS} rollbacks in a row" if self.rollbacks == ROLLBACKS else ""
            raise UserError(
                f"{reason}: training stopped{often}, {there}; resume with a lower learning rate"
                f" (--change --config.optim.{next(iter(self.config.optim))}.lr=LR), or skip the"
                " batch with --config.train.on_nan=rollback"
            )
        self.rollbacks += 1
        self.pending = None
        state, step = self.restore()
        self.writer.rewind(step)
        if hosts.first():
            skipped = (self.drawn - int(state.position)) % 2**32
            logger.warning(
                "%s: back to step %d, past the %d examples drawn since (rollback %d of at most %d)",
                *(reason, step, skipped, self.rollbacks, ROLLBACKS),
            )
        return state.replace(position=self.parallel.place_whole(np.uint32(self.drawn))), step

    def evaluate(self, step: int, state: TrainState) -> dict[str, float]:
        """Measure on split "eval", write the result and return what may choose the best."""
        found = self.evaluator(state)
        self.writer.scalars(step, {f"eval/{name}": value for name, value in found.items()})
        values = {without_protocol(name): value for name, value in found.items()}
        metric, before = best_metric(self.config.eval.best), self.best()
        if hosts.first():
            sign = -1 if self.config.eval.best.startswith("min:") else 1
            best = bool(metric) and (before is None or sign * (values[metric] - before[1]) >= 0)
            self.writer.evaluated(step, found, best=best)
        return values

    def best(self) -> tuple[int, float] | None:
        """Return step and value of the best checkpoint by `eval.best`, if there is one."""
        if not (metric := best_metric(self.config.eval.best)):
            return None
        self.checkpoints.wait()  # a step that is still being written has no metrics yet
        step = self.checkpoints.best_step()
        return None if step is None else (step, self.checkpoints.measured(step)[metric])

    def sample(self, step: int, state: TrainState, key: Key) -> None:
        """Write signs of health, and the task's pictures, of the same latents as at other steps."""
        made = self.pictures(state, key) if self.grids else {}
        signs = self.signs.read(state, made.get("samples"))
        if not hosts.first():
            return
        self.writer.scalars(step, signs)
        metadata = {"run": self.workdir.name, "step": str(step), "seed": str(self.config.seed)}
        for name, images in made.items():
            picture = grid(images)
            save_png(self.workdir / "samples" / f"{step:07d}_{name}.png", picture, metadata)
            self.writer.image(step, name, picture)

    def pictures(self, state: TrainState, key: Key) -> dict[str, np.ndarray]:
        """Return the task's grids of pictures on the host."""
        first = next(iter(eval_batches(self.splits["eval"], self.config.eval.grid)))
        return jax.device_get(self.grids(state, self.parallel.place_whole(first), key))
