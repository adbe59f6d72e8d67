"""Write the metrics and pictures of a training to metrics.jsonl, TensorBoard and the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gan_jax.core.metric_names import MetricName, split_log_name
from gan_jax.rundir.workdir import write_text

# tensorboardX imports PyTorch if it is installed, to recognise tensors. That takes seconds and is
# not needed, so PyTorch is hidden from it.
_hidden = "torch" not in sys.modules
if _hidden:
    sys.modules["torch"] = None
try:
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
finally:
    if _hidden:
        del sys.modules["torch"]

BAR_WIDTH = 12  # of the progress bar [characters]


class Writer:
    """Writes the metrics of a run; a context manager.

    metrics.jsonl has one line per logged step. The line is written when the step ends, before the
    step's checkpoint: everything logged up to a checkpoint survives a kill, and what was logged
    after it is dropped on resume, because the resumed run logs it again.

    Args:
      workdir: the run's directory.
      total_steps: the length of the training.
      resume_step: the step from which it resumes, 0 for a new training.
    """

    def __init__(self, workdir: Path, total_steps: int, *, resume_step: int) -> None:
        self._path = workdir / "metrics.jsonl"
        self._total, self._first = total_steps, resume_step
        # Not tensorboardX.SummaryWriter: a full disk kills its thread, then its queue fills up and
        # the training blocks forever. EventsWriter raises its errors here.
        folder = workdir / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        # File names have a resolution of 1 s: a resume within it would overwrite the previous file.
        number = sum(1 for _ in folder.iterdir())
        self._board = EventsWriter(str(folder / "events"), f".{number:04d}")
        self._continue_after(resume_step)
        self._row: dict[str, float] = {}  # of the current step
        self._began = time.perf_counter()
        self._bar = _progress(total_steps, resume_step) if sys.stderr.isatty() else None

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # report that error, not the next one: on a full disk flushing fails again
            with contextlib.suppress(OSError):
                self.close()

    def rewind(self, step: int) -> None:
        """Drop everything written after a step, to continue from there."""
        self.end_step()
        self._file.close()
        self._continue_after(step)

    def _continue_after(self, step: int) -> None:
        kept = [m for m in read_metrics(self._path.parent) if m["step"] <= step]
        write_text(self._path, "".join(json.dumps(m) + "\n" for m in kept))
        self._file = self._path.open("a", buffering=1)
        # Makes TensorBoard hide earlier events of this step and later ones.
        self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(
        self,
        step: int,
        metrics: Mapping[str, float],
        *,
        progress: Mapping[str, float] | None = None,
    ) -> None:
        """Add metrics of a step to its line.

        Args:
          step: training steps done.
          metrics: values by name.
          progress: speed of the training, such as "time/images_per_second"; if given, the step is
            shown in the terminal.
        """
        if self._row and self._row["step"] != step:
            self.end_step()
        found = {**metrics, **(progress or {})}
        self._row = {**self._row, "step": step, "time/unix": round(time.time(), 3), **found}
        for name, value in found.items():
            self._event(step, summary=summary.scalar(name, value))
        if progress is not None:
            self._show(step, metrics, progress)

    def end_step(self) -> None:
        """Write the line of the current step; no more metrics of it may follow."""
        row, self._row = self._row, {}
        if row:
            self._file.write(json.dumps(row) + "\n")

    def evaluated(self, step: int, metrics: Mapping[str, float], *, best: bool) -> None:
        """Show the metrics of an evaluation in the terminal.

        Args:
          step: training steps done.
          metrics: values by name; per-class ones are not shown.
          best: whether it is the best so far by `eval.best`.
        """
        names = {MetricName.parse(name): value for name, value in metrics.items()}
        shown = "  ".join(f"{n.metric} {v:.4g}" for n, v in names.items() if not n.part)
        line = f"step {step}/{self._total}  eval  {shown}{'  (best so far)' if best else ''}"
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def hyper_parameters(self, fields: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Pass the config fields to TensorBoard, with the metrics by which to compare runs."""
        plain = {
            k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in fields.items()
        }
        for content in summary.hparams(plain, dict.fromkeys(metrics))[:2]:
            self._event(0, summary=content)

    def compiled(self, step: int) -> None:
        """Start timing for the remaining-time estimate, now that the first step is compiled."""
        self._first, self._began = step, time.perf_counter()

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Add a picture, uint8 [H, W, C], to TensorBoard."""
        self._event(step, summary=summary.image(name, picture[..., :3], dataformats="HWC"))

    def flush(self) -> None:
        """Flush all files."""
        self.end_step()
        self._board.flush()

    def close(self) -> None:
        """Flush and close all files."""
        if self._bar:
            self._bar.stop()
        with contextlib.closing(self._file), contextlib.closing(self._board):
            self.end_step()

    def _event(self, step: int, **content: Any) -> None:
        self._board.write_event(Event(step=step, wall_time=time.time(), **content))

    def _show(self, step: int, metrics: Mapping[str, float], progress: Mapping[str, float]) -> None:
        done = step - self._first
        left = (self._total - step) * (time.perf_counter() - self._began) / max(done, 1)
        losses = "  ".join(f"{k} {v:.4g}" for k, v in metrics.items() if not split_log_name(k)[0])
        speed = f"{progress.get('time/images_per_second', 0):,.0f} images/s"
        clock = f"{int(left) // 60}:{int(left) % 60:02d} left  " if done > 0 else ""
        if self._bar:
            # Rich would shrink all columns; cut off the end of the losses instead.
            taken = BAR_WIDTH + len(f" step  {step}/{self._total} ") + len(str(self._total))
            about = f"{speed}  {clock}{losses}"[: max(self._bar.console.width - taken, 0)]
            self._bar.update(self._bar.task_ids[0], completed=step, about=about)
        else:
            print(f"step {step}/{self._total}  {speed}  {clock}{losses}", flush=True)


class NoWriter:
    """A Writer that does nothing, for the processes that write no files."""

    def __enter__(self) -> NoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def scalars(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing."""

    def evaluated(self, *args: Any, **kwargs: Any) -> None:
        """Show nothing."""

    def hyper_parameters(self, *args: Any) -> None:
        """Write nothing."""

    def compiled(self, step: int) -> None:
        """Show nothing."""

    def end_step(self) -> None:
        """Write nothing."""

    def image(self, *args: Any) -> None:
        """Write nothing."""

    def rewind(self, step: int) -> None:
        """Drop nothing."""

    def flush(self) -> None:
        """Write nothing."""


def _progress(total: int, completed: int) -> Progress:
    bar = Progress(
        TextColumn("step"),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[about]}"),
        console=Console(stderr=True, markup=False),
        refresh_per_second=4,
    )
    bar.add_task("", total=total, completed=completed, about="compiling")
    bar.start()
    return bar


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, one per step.

    A line truncated by a kill is left out. Several lines of one step, as in older runs, are merged.
    """
    path = workdir / "metrics.jsonl"
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        found.setdefault(row["step"], {}).update(row)
    return list(found.values())


def read_last_metrics(workdir: Path) -> dict[str, Any] | None:
    """Return the last complete line of a run's metrics.jsonl; reads only the end of a long file."""
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        length = 1 << 16
        while True:
            file.seek(max(size - length, 0))
            lines = file.read(length).split(b"\n")
            for line in reversed(lines if length >= size else lines[1:]):
                with contextlib.suppress(ValueError):
                    return json.loads(line)
            if length >= size:
                return None
            length *= 4
