"""The training loop: batch -> step -> log -> evaluate -> sample -> checkpoint, for any method.

The step number alone determines when the loop logs, evaluates and saves; the state, (seed,
position) and the step's own key determine what a step computes. A resumed run therefore equals an
uninterrupted one.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.config import best_metric
from gan_jax.core.errors import UserError
from gan_jax.core.images import grid, save_png
from gan_jax.core.metric_names import log_name
from gan_jax.core.state import TrainState
from gan_jax.core.task import Key, Metrics, Task
from gan_jax.data import Dataset
from gan_jax.data.pipeline import eval_batches
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel
from gan_jax.platform.logs import print_if_slow
from gan_jax.rundir.checkpoint import Checkpoints
from gan_jax.rundir.writer import NoWriter, Writer
from gan_jax.training import health
from gan_jax.training.bounded_dispatch import BoundedDispatch
from gan_jax.training.calls import plan_calls
from gan_jax.training.dispatch import choose_steps_per_call
from gan_jax.training.feed import abstract_batch, feed
from gan_jax.training.learning_rates import LearningRates
from gan_jax.training.speed import Reading, Speedometer
from gan_jax.training.step import training_step

logger = logging.getLogger(__name__)

ROLLBACKS = 3  # maximum number in a row, without a new checkpoint in between


class Evaluated(NamedTuple):
    """Results of an evaluation during training.

    Attributes:
      values: metrics by name with protocol.
      plain: the same, by the names that `eval.best` uses, such as "fid".
    """

    values: dict[str, float]
    plain: dict[str, float]


class NotFinite(Exception):
    """Raised on NaN or Inf."""


class Loop:
    """The loop of one training.

    Args:
      config: the run's config.
      workdir: the run directory.
      parallel: the devices.
      task: the method.
      dataset: the data; trains on split "train", samples and evaluates on split "eval".
      evaluator: state -> metrics, called every `eval.every` steps.
      checkpoints: the run's checkpoints.
      writer: writes metrics and images.
      restore: returns the state of the latest checkpoint and its step, or the initial state.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        parallel: Parallel,
        task: Task,
        dataset: Dataset,
        evaluator: Callable[[TrainState], Evaluated],
        checkpoints: Checkpoints,
        writer: Writer | NoWriter,
        restore: Callable[[], tuple[TrainState, int]],
    ) -> None:
        self.config, self.workdir, self.parallel = config, workdir, parallel
        self.task, self.spec, self.splits = task, dataset.spec, dataset.splits
        self.checkpoints, self.writer = checkpoints, writer
        self.restore = restore
        self.compiled = parallel.compile_step(training_step(task, config))
        self.evaluator = evaluator
        self.compute_finite = parallel.compile_map(health.finite)
        real = dataset.examples("eval", task.stream)
        self.diagnostics = health.Diagnostics(parallel, real, task.stream)
        self.grids = parallel.compile_map(task.grids) if task.grids else None
        # Metrics are fetched when the next ones are logged: logging never waits for the device.
        self.pending: tuple[int, Metrics, Reading] | None = None
        self.rates = LearningRates(config, task.modules)
        self.drawn = 0  # examples drawn: the position of the newest state
        self.rollbacks = 0  # since the last checkpoint
        self.stopping = False

    def run(self, state: TrainState, step: int, keys: dict[str, Key], stop: list[int]) -> int:
        """Train from `step` to the last one or to a stop signal, rolling back on NaN or Inf.

        Args:
          state: the state at `step`.
          step: number of steps already done.
          keys: named keys of the run.
          stop: becomes non-empty when a signal asks to stop.

        Returns:
          The last saved step.

        Raises:
          UserError: see `roll_back`.
        """
        while True:
            try:
                return self.run_until(state, step, keys, stop)
            except NotFinite as error:
                state, step = self.roll_back(str(error))

    def run_until(self, state: TrainState, step: int, keys: dict[str, Key], stop: list[int]) -> int:
        """Train like `run`, without rolling back.

        Raises:
          NotFinite: on NaN or Inf.
        """
        config, total = self.config.train, self.config.train.steps
        self.drawn = int(state.position)
        intervals = (
            config.log_every,
            config.save_every,
            config.sample_every,
            self.config.eval.every,
        )
        calls = functools.partial(
            plan_calls,
            self.task.phase,
            start=step,
            total=total,
            steps_per_call=self.steps_per_call(state, keys["train"]),
            intervals=intervals,
        )
        split, draws = self.splits["train"], (call.draws for call in calls())
        fed = feed(split, self.parallel, self.config, position=self.drawn, draws=draws)
        speed, dispatch, known = Speedometer(), BoundedDispatch(), set()
        with contextlib.closing(fed):
            for call in calls():
                batch = speed.take(fed, call.draws * config.batch_size)
                program = call.phase, call.draws
                with contextlib.nullcontext() if program in known else self.announce_compilation():
                    state, metrics = self.compiled(call.phase, state, batch, keys["train"])
                if not known:  # leave compilation out of the measured speed
                    jax.block_until_ready(metrics)
                    self.writer.compiled(call.end)
                    if call.end % config.log_every and call.end < total:
                        speed.restart()
                known.add(program)
                dispatch.wait(metrics)
                step, last = call.end, call.end == total
                self.drawn = (self.drawn + call.draws * config.batch_size) % 2**32
                # Checked once per call; a run that stops here also saves here. Several processes
                # agree on stopping when they log.
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
        """Return the maximum number of steps per call."""
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
        """Return whether `step` is a multiple of `every`; 0 is never."""
        return every > 0 and step % every == 0

    @staticmethod
    def announce_compilation() -> contextlib.AbstractContextManager[None]:
        """Print a line if compilation takes long, unless a progress bar is shown."""
        enabled = hosts.first() and not sys.stderr.isatty()
        return print_if_slow("compiling the step ...", enabled=enabled)

    def log(self, step: int, metrics: Metrics, speed: Reading) -> None:
        """Start fetching the metrics of this step, and write the previously fetched ones."""
        self.flush()
        self.writer.end_step()
        for value in metrics.values():
            value.copy_to_host_async()
        self.pending = (step, metrics, speed)

    def flush(self) -> None:
        """Write the pending metrics; raise NotFinite on NaN or Inf."""
        if self.pending is None:
            return
        step, metrics, speed = self.pending
        self.pending = None
        values = {name: float(value) for name, value in metrics.items()}
        self.writer.scalars(step, values, progress={**speed.values(), **self.rates.at(step)})
        self.require_finite(step, values)

    def require_finite(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Raise NotFinite on NaN or Inf, before the state is saved."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NotFinite(f"{name} is {float(value)} at step {step}")

    def roll_back(self, reason: str) -> tuple[TrainState, int]:
        """Return the last saved state and its step, skipping the examples drawn since.

        PaLM's training handled loss spikes this way (arXiv:2204.02311, section 5.1). Rollbacks
        depend on step numbers only, so a run that is killed meanwhile repeats them when resumed.

        Raises:
          UserError: if `train.on_nan` is "stop", after a stop signal, or after too many rollbacks.
        """
        self.checkpoints.wait()
        last = self.checkpoints.latest()
        # A stop signal checks metrics at a step where an uninterrupted run does not, so rolling
        # back is left to the resumed run.
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
        """Evaluate on split "eval", write the metrics, and return them by `eval.best` names."""
        found, values = self.evaluator(state)
        self.writer.scalars(step, {log_name("eval", n): v for n, v in found.items()})
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
        self.checkpoints.wait()  # a checkpoint that is still being written has no metrics yet
        step = self.checkpoints.best_step()
        return None if step is None else (step, self.checkpoints.measured(step)[metric])

    def sample(self, step: int, state: TrainState, key: Key) -> None:
        """Write diagnostics and the task's image grids, which use the same latents each time."""
        made = self.pictures(state, key) if self.grids else {}
        diagnostics = self.diagnostics.measure(state, made.get("samples"))
        if not hosts.first():
            return
        self.writer.scalars(step, diagnostics)
        metadata = {"run": self.workdir.name, "step": str(step), "seed": str(self.config.seed)}
        for name, images in made.items():
            picture = grid(images)
            save_png(self.workdir / "samples" / f"{step:07d}_{name}.png", picture, metadata)
            self.writer.image(step, name, picture)

    def pictures(self, state: TrainState, key: Key) -> dict[str, np.ndarray]:
        """Return the task's image grids on the host."""
        first: dict[str, np.ndarray] = {}
        for part in self.splits["eval"].parts.values():
            first |= next(iter(eval_batches(part, self.config.eval.grid)))
        return jax.device_get(self.grids(state, self.parallel.place_whole(first), key))
