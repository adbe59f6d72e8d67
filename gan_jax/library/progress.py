"""How a training is getting on, from the files that it writes: for a notebook that looks on.

No checkpoint is opened and nothing is written, so that any process may look at any time.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import functools
import html
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax.core.config import best_metric
from gan_jax.core.metric_names import MetricName, log_name, split_log_name
from gan_jax.core.places import place
from gan_jax.library.frames import pandas_for
from gan_jax.library.summary import last_grid
from gan_jax.rundir.workdir import in_use, read_config
from gan_jax.rundir.writer import read_metrics

if TYPE_CHECKING:
    import pandas

EVAL = "eval"  # the group that evaluations have in the log
_SIGNS = ("time", "learning_rate", "grad_norm", "spectral_norm", "diversity")  # no losses
_RECENT = 50  # lines of the log that the rate is taken from
_SHOWN = 8  # numbers of a group; of more their range is shown
_PLOTS = 12
_LETTERS = 24  # of a plot's title
_WIDTH, _HEIGHT, _POINTS = 220, 110, 200  # of a plot [px], and the most points of its line


@dataclasses.dataclass(frozen=True, repr=False)
class Progress:
    """A training as it was when its files were read.

    Attributes:
      workdir: the run.
      steps: the training's length.
      rows: the lines of metrics.jsonl, one a logged step.
      running: whether a training holds the run.
      best_by: `eval.best` of the run, such as "max:accuracy"; "" chooses none.
      about: the method and its data, for people.
      batch_size: images a step.
      began: when the last start of the training was [s since 1970].
    """

    workdir: Path
    steps: int
    rows: tuple[Mapping[str, Any], ...]
    running: bool
    best_by: str
    about: str
    batch_size: int
    began: float

    @property
    def step(self) -> int:
        """The last step that was logged; 0 before the first."""
        return self.rows[-1]["step"] if self.rows else 0

    @functools.cached_property
    def metrics(self) -> pandas.DataFrame:
        """The log as a table: a row a logged step, a column a number, by the names in the log.

        Raises:
          UserError: no pandas.
        """
        pandas = pandas_for("progress.metrics")
        names = list(dict.fromkeys(["step", *(name for row in self.rows for name in row)]))
        return pandas.DataFrame(list(self.rows), columns=names).set_index("step")

    @property
    def seconds_per_step(self) -> float | None:
        """Of the last lines since the training was last started; None where they do not say."""
        recent = [row for row in self.rows if row.get("time/unix", 0) >= self.began][-_RECENT:]
        if len(recent) > 1:
            first, last = recent[0], recent[-1]
            return (last["time/unix"] - first["time/unix"]) / (last["step"] - first["step"])
        speed = recent[-1].get("time/images_per_second") if recent else None
        return self.batch_size / speed if speed else None

    @property
    def best(self) -> tuple[int, str, float] | None:
        """Step, name and value of the best evaluation so far by `eval.best`; None without one."""
        if not (metric := best_metric(self.best_by)):
            return None
        sign = -1 if self.best_by.startswith("min:") else 1
        found = [
            (sign * row[name], row["step"], name)
            for row in self.rows
            if (name := _evaluated(row, metric)) and math.isfinite(row[name])
        ]
        if not found:
            return None
        value, step, name = max(found)
        return step, split_log_name(name)[1], sign * value

    def __repr__(self) -> str:
        lines = [self._first_line(), f"  {self.workdir}: {self.about}"]
        groups: dict[str, dict[str, float]] = {}
        for text, value in _newest(self.rows).items():
            group, name = split_log_name(text)
            groups.setdefault(group, {})[name] = value
        for group in sorted(groups):
            if group not in ("time", EVAL):
                lines.append(f"  {group or 'training'}: {_numbers(groups[group])}")
        measured = [row for row in self.rows if _of_group(row, EVAL)]
        if measured:
            found = _of_group(measured[-1], EVAL)
            whole = {n: value for n, value in found.items() if not MetricName.parse(n).part}
            shown = _numbers(whole or found, 12)  # a translator both ways has numbers of parts only
            lines.append(f"  evaluation at step {measured[-1]['step']:,}: {shown}")
        if self.best is not None:
            step, name, value = self.best
            lines.append(f"  best so far ({self.best_by}): {name} {value:.4g} at step {step:,}")
        return "\n".join(lines)

    def _first_line(self) -> str:
        status = "running" if self.running else "not running"
        if self.rows and self.step >= self.steps:
            status = "ending" if self.running else "complete"
        if not self.rows:
            return f"{status}: nothing is logged yet"
        line = f"{status}: step {self.step:,} of {self.steps:,}"
        seconds, last = self.seconds_per_step, self.rows[-1]
        if self.running and self.step < self.steps and seconds is not None:
            line += f", {_duration((self.steps - self.step) * seconds)} left"
        if seconds:
            line += f", {self.batch_size / seconds:,.0f} images/s, {1 / seconds:,.3g} steps/s"
        if "time/unix" in last:
            line += f", logged {_duration(max(time.time() - last['time/unix'], 0))} ago"
        return line

    def _repr_html_(self) -> str:
        parts = [f"<pre>{html.escape(repr(self))}</pre>"]
        split = {name: split_log_name(name) for name in _newest(self.rows)}
        names = [name for name, (group, _) in split.items() if not group]
        if not names:  # of a pyramid each level is a group
            names = [
                name
                for name, (group, rest) in split.items()
                if group not in (EVAL, *_SIGNS) and not split_log_name(rest)[0]
            ]
        if metric := best_metric(self.best_by):
            names += dict.fromkeys(n for row in self.rows if (n := _evaluated(row, metric)))
        for name in names[:_PLOTS]:
            parts.append(_plot(name, [(r["step"], r[name]) for r in self.rows if name in r]))
        if picture := last_grid(self.workdir, self.steps):
            data = base64.b64encode(picture.read_bytes()).decode()
            title = html.escape(picture.name)
            parts.append(f'<div><img alt="{title}" src="data:image/png;base64,{data}"></div>')
        return "".join(parts)


def progress(workdir: str | Path) -> Progress:
    """Read how far a training has come, while it runs or after it.

    Shown in a notebook it has the last numbers, plots of the losses and the last pictures; call it
    again for news.

    Args:
      workdir: a run's directory.

    Raises:
      UserError: no run is there.
    """
    workdir, running = place(workdir), in_use(place(workdir))
    if running and not (workdir / "config.json").is_file():
        return Progress(workdir, 0, (), running, "", "its networks are being initialised", 0, 0.0)
    config = read_config(workdir)
    path = workdir / "environment.json"
    starts = json.loads(path.read_text())["starts"] if path.is_file() else []
    began = datetime.datetime.fromisoformat(starts[-1]["time"]).timestamp() if starts else 0.0
    return Progress(
        workdir=workdir,
        steps=config.train.steps,
        rows=tuple(read_metrics(workdir)),
        running=running,
        best_by=config.eval.best,
        about=f"{config.task.name} on {config.data.name or config.data.source}",
        batch_size=config.train.batch_size,
        began=began,
    )


def _newest(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the last value of every number of the log."""
    found = {name: value for row in rows for name, value in row.items()}
    return {name: value for name, value in found.items() if name != "step"}


def _of_group(row: Mapping[str, Any], group: str) -> dict[str, float]:
    split = ((*split_log_name(text), value) for text, value in row.items())
    return {name: value for of, name, value in split if of == group}


def _evaluated(row: Mapping[str, Any], metric: str) -> str:
    """Return the name in the log of what `eval.best` calls `metric`; "" where it is not there."""
    if (exact := log_name(EVAL, metric)) in row:
        return exact
    wanted = MetricName(metric)  # "fid" is fid/cnn:RUN/eval/1000
    named = (n for n in _of_group(row, EVAL) if MetricName.parse(n).with_protocol() == wanted)
    return next((log_name(EVAL, name) for name in named), "")


def _numbers(values: Mapping[str, float], most: int = _SHOWN) -> str:
    if len(values) > most:
        low, high = min(values.values()), max(values.values())
        return f"{len(values)} numbers from {low:.4g} to {high:.4g}"
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _duration(seconds: float) -> str:
    """Format a time: "42 s", "3:05 min", "2:03 h", "3.1 days"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    if seconds < 48 * 3600:
        return f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02d} h"
    return f"{seconds / 86400:.1f} days"


def _plot(name: str, points: Sequence[tuple[int, float]]) -> str:
    """Return an SVG of a number over the steps: means of neighbouring points, and their ranges."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        return ""
    binned = list(_binned(finite))
    low, high = min(low for *_, low, _ in binned), max(high for *_, high in binned)
    start, end = finite[0][0], max(finite[-1][0], finite[0][0] + 1)
    room = high - low or 1.0

    def at(step: float, value: float) -> str:
        x = 4 + (_WIDTH - 8) * (step - start) / (end - start)
        return f"{x:.1f},{_HEIGHT - 18 - (_HEIGHT - 38) * (value - low) / room:.1f}"

    line = " ".join(at(step, mean) for step, mean, *_ in binned)
    band = [at(step, high) for step, _, _, high in binned]
    band += [at(step, low) for step, _, low, _ in reversed(binned)]
    text = 'font-family="sans-serif" font-size="11" fill="currentColor"'
    right = f'x="{_WIDTH - 4}" text-anchor="end" {text}'
    short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f"<title>{html.escape(name)}</title>"
        f'<text x="4" y="12" font-weight="bold" {text}>{html.escape(short)}</text>'
        f'<polygon points="{" ".join(band)}" fill="#1f77b4" fill-opacity="0.25"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>'
        f'<text {right} y="12">{finite[-1][1]:.4g}</text>'
        f'<text x="4" y="{_HEIGHT - 5}" {text}>{low:.3g} to {high:.3g}</text>'
        f'<text {right} y="{_HEIGHT - 5}">step {start:,} to {finite[-1][0]:,}</text></svg>'
    )


def _binned(
    points: Sequence[tuple[int, float]],
) -> Iterator[tuple[float, float, float, float]]:
    """Yield (step, mean, least, greatest) of up to `_POINTS` groups of neighbouring points."""
    for part in np.array_split(np.array(points, np.float64), min(len(points), _POINTS)):
        steps, values = part.T
        yield steps.mean(), values.mean(), values.min(), values.max()
