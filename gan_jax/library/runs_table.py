"""All runs below a folder as a table: what they are, how far they came, what was measured."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_jax.core.config import flatten
from gan_jax.core.errors import UserError
from gan_jax.core.metric_names import MetricName, Protocol
from gan_jax.core.places import place
from gan_jax.library.frames import pandas_for
from gan_jax.rundir.evaluations import evaluated_steps, read_evaluation
from gan_jax.rundir.workdir import in_use, read_config, read_spec, saved_steps
from gan_jax.rundir.writer import read_last_metrics

if TYPE_CHECKING:
    import pandas

# What every table has.
COLUMNS = (
    *("workdir", "method", "data", "seed", "step", "steps", "status", "started", "written"),
    "eval_step",
)
_SHOWN = ("task.name", "seed", "train.steps")  # fields that have a column by another name


@dataclasses.dataclass(frozen=True)
class _Found:
    """One run: its cells of `COLUMNS`, its config's fields, and the numbers of its evaluation."""

    cells: dict[str, Any]
    fields: dict[str, Any]
    numbers: dict[MetricName, tuple[Protocol, float]]


def runs(folder: str | Path = "runs") -> pandas.DataFrame:
    """Return a table of the runs below a folder, one a row, sorted by path.

    Columns:
      workdir, method, data, seed.
      step: the last that was logged or saved; steps: the training's length.
      status: "complete"; "running", while a training holds the run; "unfinished".
      started, written: when the run began, and when its log was last written, UTC.
      FIELD: a column for each config field that the runs differ in, by the name that
        `--config.FIELD` has.
      eval_step, METRIC: the newest evaluation, by the whole names of its metrics. Numbers of unlike
        data or feature weights do not compare: where a name has several, each has its own column.

    A directory that has a config.json and is no run that can be read is left out and named, with
    the reason, in `frame.attrs["left_out"]`.

    Args:
      folder: searched with all folders in it, up to the runs themselves. It may be a run.

    Raises:
      UserError: no such folder, or no pandas.
    """
    pandas = pandas_for("gan_jax.runs")
    root = place(folder)
    if not root.is_dir():
        raise UserError(f"runs({str(folder)!r}): there is no such folder")
    found: list[_Found] = []
    left_out: dict[str, str] = {}
    _search(root, found, left_out, set())
    names = _column_names(found)
    rows = []
    for run in found:
        numbers = {names[name, of]: value for name, (of, value) in run.numbers.items()}
        rows.append({**run.cells, **run.fields, **numbers})
    fields = _differing(found)
    columns = [*COLUMNS[:-1], *fields, COLUMNS[-1], *sorted(names.values())]
    frame = pandas.DataFrame(rows, columns=columns)
    for name in ("started", "written"):
        frame[name] = pandas.to_datetime(frame[name], utc=True)
    for name in ("eval_step", *fields):  # integers, too, where a run has none
        if all(type(row.get(name, 0)) in (int, type(None)) for row in rows):
            frame[name] = frame[name].astype("Int64")
    frame.attrs["left_out"] = left_out
    return frame


def _search(folder: Path, found: list[_Found], left_out: dict[str, str], known: set[Path]) -> None:
    """Collect the runs of a folder, and what is none; `known` ends circles of links."""
    if (real := folder.resolve()) in known:
        return
    known.add(real)
    try:
        if (folder / "config.json").is_file():
            try:
                found.append(_read(folder))
                return
            # What files of another program, or of a damaged disk, may hold.
            except (UserError, ValueError, LookupError, TypeError, AttributeError) as error:
                left_out[str(folder)] = " ".join(f"{type(error).__name__}: {error}".split())
        inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        left_out[str(folder)] = str(error)
        return
    for path in inner:
        _search(path, found, left_out, known)


def _read(workdir: Path) -> _Found:
    config = read_config(workdir)
    has_spec = (workdir / "spec.json").is_file()
    spec = read_spec(workdir) if has_spec else None
    last = read_last_metrics(workdir) or {}
    saved, steps = max(saved_steps(workdir / "checkpoints"), default=0), config.train.steps
    running = in_use(workdir)
    started = _started(workdir)
    evaluated = evaluated_steps(workdir) if spec else []
    numbers = read_evaluation(workdir, evaluated[-1], spec).numbers if evaluated else {}
    written = last.get("time/unix")
    cells = dict(
        workdir=str(workdir),
        method=config.task.name,
        data=spec.name if spec else config.data.name or config.data.source,
        seed=config.seed,
        step=max(saved, last.get("step", 0)),
        steps=steps,
        status="running" if running else "complete" if saved >= steps else "unfinished",
        started=started,
        written=datetime.datetime.fromtimestamp(written, datetime.UTC) if written else None,
        eval_step=evaluated[-1] if evaluated else None,
    )
    fields = {
        name: str(tuple(value)) if isinstance(value, list) else value
        for name, value in flatten(config).items()
        if name not in _SHOWN
    }
    return _Found(cells, fields, numbers)


def _started(workdir: Path) -> str | None:
    path = workdir / "environment.json"
    return json.loads(path.read_text())["starts"][0]["time"] if path.is_file() else None


def _differing(found: list[_Found]) -> list[str]:
    """Return the config fields that the runs differ in."""
    fields = sorted({name for run in found for name in run.fields})
    absent = object()
    return [n for n in fields if len({repr(r.fields.get(n, absent)) for r in found}) > 1]


def _column_names(found: list[_Found]) -> dict[tuple[MetricName, Protocol], str]:
    """Return a column for each metric that compares."""
    kinds: dict[MetricName, set[Protocol]] = {}
    for run in found:
        for name, (protocol, _) in run.numbers.items():
            kinds.setdefault(name, set()).add(protocol)
    columns = {}
    for name, protocols in kinds.items():
        for protocol in protocols:
            weights = f", weights {protocol.weights[:8]}" if protocol.weights else ""
            mark = f" (data {protocol.data[:8]}{weights})" if len(protocols) > 1 else ""
            columns[name, protocol] = f"{name}{mark}"
    return columns
