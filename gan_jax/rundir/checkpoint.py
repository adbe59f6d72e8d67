"""Checkpoints: saved by Orbax in the background, verified by SHA-256 sums.

Orbax commits a step by renaming its directory, so a killed save leaves no committed step; but a
truncated step raises on restore, and one flipped byte restores silently as wrong numbers. So every
committed step gets a file `<step>.sha256` beside it (`sha256sum --check` reads it too), and a
restore falls back to the newest intact step. A step without sums is tried last: the process was
killed between commit and sums, or the machine went down, so the step may hold anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

from gan_jax.core.errors import DISK, UserError, out_of_memory
from gan_jax.core.keys import named_keys
from gan_jax.core.state import TrainState
from gan_jax.core.task import Task
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel
from gan_jax.rundir import layouts
from gan_jax.rundir.workdir import write_text

logger = logging.getLogger(__name__)


class _Unreadable(UserError):
    """Raised for a step without sums that cannot be read."""


DISK_SIGNS = ("No space left", "File too large", "Read-only file system", "quota exceeded")


class Checkpoints:
    """The checkpoints of a run; a context manager that waits for pending saves on exit.

    Args:
      directory: the directory of the checkpoints; created unless read_only.
      keep: number of latest steps to keep, in addition to the best.
      best: "max:METRIC" or "min:METRIC", by a metric given to `save`; "" keeps no best step.
      read_only: never write or delete.
    """

    def __init__(
        self, directory: Path, *, keep: int = 2, best: str = "", read_only: bool = False
    ) -> None:
        self._directory = directory.absolute()
        self._read_only = read_only
        self._sums: threading.Thread | None = None
        mode, _, metric = best.partition(":")
        policies: list[Any] = [checkpoint_managers.LatestN(n=keep)]
        if best:
            policies.append(
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[metric],
                    reverse=mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                best_fn=(lambda metrics: metrics[metric]) if best else None,
                best_mode=mode or "max",
                create=not read_only,
                read_only=read_only,
            ),
            # Given here, since otherwise item_metadata has no tree before the first restore.
            item_handlers=ocp.StandardCheckpointHandler(),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # otherwise the error of the block is the one to report
                raise

    def save(
        self, step: int, state: TrainState, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Start saving; return once the arrays are copied, so that they may be donated.

        Args:
          step: the step, larger than any saved before.
          state: the state to save.
          metrics: metrics of this step, by which the best is chosen.

        Raises:
          UserError: the disk is full or cannot be written; names the last good step.
        """
        self.wait()
        with self._disk_errors():
            self._manager.save(
                step, args=ocp.args.StandardSave(state), metrics=dict(metrics) if metrics else None
            )
        if hosts.first():
            self._sums = threading.Thread(
                target=self._sum_when_committed, args=(step,), daemon=True
            )
            self._sums.start()

    def steps(self) -> list[int]:
        """Return the committed steps, ascending."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """Return the newest intact step; one without sums only if there is no other."""
        return next(iter(self._candidates()), None)

    def best_step(self) -> int | None:
        """Return the step with the best metric, None if no step has metrics."""
        kept = [step for step in self.steps() if self._manager.metrics(step)]
        return self._manager.best_step() if kept else None

    def measured(self, step: int) -> Mapping[str, float]:
        """Return the metrics with which a step was saved."""
        return self._manager.metrics(step) or {}

    def restore(
        self, abstract: TrainState, step: int | None = None
    ) -> tuple[TrainState, int] | None:
        """Restore a step into the shapes and shardings of `abstract`.

        Args:
          abstract: pytree of jax.ShapeDtypeStruct with shardings.
          step: the step to restore; None for the newest intact one. Damaged steps after that one
            are then deleted (unless read_only), since the training makes them again.

        Returns:
          (state, step), or None if there is no step, or only steps whose saving never completed.

        Raises:
          UserError: the requested step is damaged, no step is intact, or the state has other
            networks.
        """
        there = self.steps()
        newest = step is None
        if newest:
            step = hosts.from_first(lambda: next(iter(self._candidates()), -1))
            if there and step < 0:
                raise UserError(
                    f"no checkpoint in {self._directory} is whole (steps {there} fail their sums):"
                    " restore a copy, or train in another --workdir"
                )
            if step < 0:
                return None
        elif step not in there:
            raise UserError(f"no checkpoint {step} in {self._directory}: those kept are {there}")
        elif self._whole(step) is False:
            raise UserError(
                f"checkpoint {step} in {self._directory} is damaged: its files do not match"
                f" {self._sums_of(step).name}; the steps kept are {there}"
            )
        try:
            state = self._read(abstract, step)
        except _Unreadable:
            if not newest or self._read_only or last_whole_step(self._directory) is not None:
                raise
            logger.warning("checkpoint %d was never whole: starting afresh", step)
            for never_whole in there:
                self._manager.delete(never_whole)
            return None
        for damaged in (s for s in there if s > step and newest):
            logger.warning("checkpoint %d is damaged or incomplete: using %d", damaged, step)
            if not self._read_only:
                self._manager.delete(damaged)
                if hosts.first():
                    self._sums_of(damaged).unlink(missing_ok=True)
        return state, step

    def _read(self, abstract: TrainState, step: int) -> TrainState:
        try:
            saved = self._manager.item_metadata(step)
            saved = saved.tree if hasattr(saved, "tree") else saved
            if saved and layouts.is_schema_1(saved["nets"], abstract):
                abstract = layouts.to_schema_1(abstract)
            if saved:
                _check_tree(saved, abstract, step)
            state = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            return layouts.from_schema_1(state) if layouts.WHOLE in state.nets else state
        except UserError:
            raise
        except Exception as error:
            if self._whole(step):
                raise
            reason = f"{error} ".splitlines()[0].strip()
            raise _Unreadable(
                f"checkpoint {step} in {self._directory} has no sums, and cannot be read ({reason})"
            ) from None

    def wait(self) -> None:
        """Wait until the last save is committed and its sums are written."""
        with self._disk_errors():
            self._manager.wait_until_finished()
            if self._sums is not None:
                self._sums.join()
                self._sums = None
                self._delete_orphans()

    def close(self) -> None:
        """Wait for the last save, then release all resources."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _candidates(self) -> list[int]:
        """Return the newest intact step, or else the newest without sums: at most one."""
        unknown = []
        for step in reversed(self.steps()):
            whole = self._whole(step)
            if whole:
                return [step]
            if whole is None:
                unknown.append(step)
        return unknown[:1]

    def _whole(self, step: int) -> bool | None:
        """Return whether the files of a step match its sums; None if it has no sums."""
        path = self._sums_of(step)
        if not path.is_file():
            return None
        return path.read_bytes() == self._sum(step).encode()

    def _sum(self, step: int) -> str:
        root = self._directory / str(step)
        lines = []
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{digest}  {path.relative_to(self._directory).as_posix()}\n")
        return "".join(lines)

    def _sums_of(self, step: int) -> Path:
        return self._directory / f"{step}.sha256"

    def _sum_when_committed(self, step: int) -> None:
        # Orbax has no hook after the rename that commits; wait for the directory to appear.
        committed = self._directory / str(step)
        while not committed.is_dir():
            if not self._manager.is_saving_in_progress() and not committed.is_dir():
                return  # the save failed; wait() raises its error
            time.sleep(0.01)
        try:
            write_text(self._sums_of(step), self._sum(step))
        except OSError as error:
            logger.warning("cannot write the sums of checkpoint %d: %s", step, error)

    def _delete_orphans(self) -> None:
        for path in self._directory.glob("*.sha256"):
            if not (self._directory / path.stem).is_dir():
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turn errors of a full or read-only disk into a UserError with the last good step."""
        try:
            yield
        except Exception as error:
            # Orbax and tensorstore wrap the OSError in exceptions of several types.
            reason = next((sign for sign in DISK_SIGNS if sign in str(error)), None)
            if reason is None:
                raise
            good = last_whole_step(self._directory)
            kept = f"the last good one is step {good}" if good is not None else "there is none yet"
            raise UserError(
                f"cannot save a checkpoint in {self._directory} ({reason}); {kept}: make room and"
                " repeat the command to resume"
            ) from None


def last_whole_step(directory: Path) -> int | None:
    """Return the newest step on disk that has sums; they are not verified."""
    found = [int(path.stem) for path in directory.glob("*.sha256")]
    return max((s for s in found if (directory / str(s)).is_dir()), default=None)


def digest_of(directory: Path, step: int) -> str:
    """Return the SHA-256 of a checkpoint, computed from the sums of its files."""
    return hashlib.sha256((directory / f"{step}.sha256").read_bytes()).hexdigest()


@contextlib.contextmanager
def disk_errors(workdir: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk into a UserError that names the last good step."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise UserError(
            # Names the run, not the file: that may be one of Orbax's own, without its folder.
            f"cannot write to {workdir} ({error.strerror}); {last_good(workdir)}: make room and"
            " repeat the command to resume"
        ) from None


@contextlib.contextmanager
def memory_errors(workdir: Path, config: ConfigDict, devices: int) -> Iterator[None]:
    """Turn an out-of-memory error into a UserError with the last good step and settings to try.

    Args:
      workdir: the run's directory.
      config: its section `train`.
      devices: number of devices that share a batch.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # JAX's are RuntimeErrors
        if not (reason := out_of_memory(error)):
            raise
        more = range(config.microbatches + 1, 65)
        parts = next((n for n in more if config.batch_size % (n * devices) == 0), 0)
        resumed = [f"--config.train.microbatches={parts}"] * bool(parts)
        resumed += ["--config.train.remat=true"] * (not config.remat)
        anew = ["smaller train.batch_size"]
        anew += ["train.precision=bfloat16"] * (config.precision == "float32")
        go_on = f"repeat the command with {' or '.join(resumed)}, or " if resumed else ""
        raise UserError(
            f"out of memory at train.batch_size={config.batch_size} ({reason});"
            f" {last_good(workdir)}: {go_on}begin in another --workdir with {' or '.join(anew)}"
        ) from None


def last_good(workdir: Path) -> str:
    """Return a phrase that names the last good checkpoint of a run."""
    step = last_whole_step(workdir / "checkpoints")
    return f"the last good checkpoint is step {step}" if step else "there is no checkpoint yet"


def _check_tree(saved: Any, abstract: TrainState, step: int) -> None:
    """Raise UserError unless the arrays of a step have the shapes to be restored."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            "/".join(str(getattr(p, "key", getattr(p, "name", p))) for p in path): tuple(leaf.shape)
            for path, leaf in leaves
            if hasattr(leaf, "shape")
        }

    wanted = shapes(ocp.tree.serialize_tree(abstract, keep_empty_nodes=True))
    there = shapes(saved)
    if there and there != wanted:
        odd = sorted(
            name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name)
        )
        raise UserError(
            f"checkpoint {step} is of other networks than the config makes: {len(odd)} arrays"
            f" differ, the first is {odd[0]} ({there.get(odd[0])} there, {wanted.get(odd[0])} here)"
        )


def abstract_state(task: Task, parallel: Parallel) -> TrainState:
    """Return the shapes and shardings of a task's TrainState: the target of a restore."""
    shapes = jax.eval_shape(task.init, named_keys(0)["init"])
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        parallel.shardings(shapes),
    )
