"""Results tables: metrics of several runs as Markdown, averaged over runs that differ by seed only.

Each table has one protocol (`gan_jax.core.metric_names.Protocol`): the same part of the metric
names after the first "/", the same feature weights and the same data, by their fingerprints.
Tables over whole splits come first, then per-class tables, then confusion matrices.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gan_jax.core.config import RESUMABLE, flatten
from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.metric_names import MetricName, Protocol
from gan_jax.metrics.confusion import CONFUSION, DIRECTION, Confusion, markdown
from gan_jax.rundir.changes import read_changes
from gan_jax.rundir.evaluations import evaluated_steps, read_evaluation
from gan_jax.rundir.workdir import read_config, read_spec, write_text

BY_CLASS = "by_class"  # the evaluation of --mode=eval
BEGIN, END = "<!-- results: {} -->", "<!-- end of results -->"


@dataclasses.dataclass
class _Run:
    """The evaluations of one run at its newest step that has them."""

    workdir: Path
    images: str  # description of its data, for display
    settings: str  # its config without the seed and fields that cannot affect the weights
    seed: int
    # (step, value) by metric name without its protocol.
    values: dict[Protocol, dict[MetricName, tuple[int, float]]]
    matrices: dict[Protocol, tuple[int, Confusion]]
    changes: tuple[str, ...]  # deliberate changes of settings or data during training


def report(
    workdirs: Sequence[Path], metrics: Sequence[str] = (), output: Path | None = None
) -> str:
    """Return the results of runs as Markdown tables.

    Args:
      workdirs: directories of evaluated runs.
      metrics: metrics to show (the names up to "/"), in that order; "by_class" stands for the
        results of that evaluation of --mode=eval; () shows all.
      output: a Markdown file, in which the section between the lines BEGIN and END is replaced;
        FILE#NAME selects one of several sections.

    Raises:
      UserError: no run, none evaluated, a metric that no run has, or no such section in the file.
    """
    runs = [_read(workdir) for workdir in workdirs]
    found = {name for run in runs for values in run.values.values() for name in values}
    there = sorted({name.metric for name in found if not name.part})
    parts = sorted({name.metric for name in found if name.part})
    has_matrix = any(run.matrices for run in runs)
    known = [*there, *([CONFUSION, BY_CLASS] if has_matrix else [])]
    for name in metrics:
        if name not in (*known, *parts):
            raise UserError(
                f"--metrics={name}: none of the runs has it{did_you_mean(name, known)}; they have"
                f" {', '.join(known) or 'no evaluation: use --mode=eval first'}"
            )
    if not known:
        raise UserError("none of the runs was evaluated: use --mode=eval --workdir=RUN first")
    if BY_CLASS in metrics:
        asked = [n for n in ("balanced_accuracy", CONFUSION) if n in known and n not in metrics]
        metrics = [*(name for name in metrics if name != BY_CLASS), *asked]
        parts = [name for name in parts if name == "accuracy" or name in metrics]
    else:
        parts = [name for name in parts if not metrics or (name in metrics and name not in there)]
    protocols = sorted({p for r in runs for p in (*r.values, *r.matrices)})
    tables = [_table(protocol, runs, metrics or there) for protocol in protocols]
    tables += [_parts(protocol, runs, metric) for protocol in protocols for metric in parts]
    if has_matrix and (not metrics or CONFUSION in metrics):
        tables += [table for protocol in protocols for table in _matrices(protocol, runs)]
    text = "\n\n".join(table for table in tables if table)
    if output is not None:
        _replace(output, text)
    return text


def _read(workdir: Path) -> _Run:
    config, spec = read_config(workdir), read_spec(workdir)
    fields = flatten(config)
    settings = {
        name: value
        for name, value in fields.items()
        if name not in ("seed", *RESUMABLE) and not name.startswith("eval.")
    }
    settings["train.steps"] = fields["train.steps"]  # resumable, but it affects the result
    changes = tuple(map(str, read_changes(workdir)))
    settings["changes"] = changes
    values: dict[Protocol, dict[MetricName, tuple[int, float]]] = {}
    matrices: dict[Protocol, tuple[int, Confusion]] = {}
    height, width, channels = spec.image_shape
    images = f"{spec.name}, {height}x{width}x{channels}"
    for step in evaluated_steps(workdir):  # ascending, so that the newest overwrites the others
        kept = read_evaluation(workdir, step, spec)
        for name, (protocol, value) in kept.numbers.items():
            values.setdefault(protocol, {})[name.with_protocol()] = (step, value)
        for protocol, matrix in kept.matrices.values():
            matrices[protocol] = (step, matrix)
    shown = json.dumps(settings, sort_keys=True)
    return _Run(workdir, images, shown, config.seed, values, matrices, changes)


def _groups(runs: Iterable[_Run]) -> list[list[_Run]]:
    """Group runs that differ by seed only."""
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.settings, []).append(run)
    return list(groups.values())


def _table(protocol: Protocol, runs: Sequence[_Run], metrics: Sequence[str]) -> str:
    """Return the table of one protocol, one row per group; "" if no run has numbers of it."""
    wanted = [MetricName(metric) for metric in metrics]
    shown = [m for m in wanted if any(m in r.values.get(protocol, {}) for r in runs)]
    groups = _groups(r for r in runs if any(m in r.values.get(protocol, {}) for m in shown))
    if not groups:
        return ""
    names = " | ".join(str(name) for name in shown)
    lines = [f"| run | seeds | step | {names} |", "|---" * (len(shown) + 3) + "|"]
    for group in groups:
        found = [run.values[protocol] for run in group]
        steps = sorted({step for values in found for step, _ in values.values()})
        cells = [_label(group), ", ".join(str(run.seed) for run in group)]
        cells.append(", ".join(map(str, steps)))
        cells += [_number([v[m][1] for v in found if m in v], len(group)) for m in shown]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        f"\n{_label(group)}: {'; '.join(group[0].changes)}." for group in groups if group[0].changes
    ]
    return f"{_heading(protocol, groups)}\n\n" + "\n".join(lines)


def _parts(protocol: Protocol, runs: Sequence[_Run], metric: str) -> str:
    """Return the table of one metric by part, such as per class: one row per part."""
    having = [
        (run, {n.part: value for n, (_, value) in found.items() if n.metric == metric and n.part})
        for run in runs
        if (found := run.values.get(protocol))
    ]
    values = {id(run): found for run, found in having if found}
    groups = _groups(run for run, found in having if found)
    if not groups:
        return ""
    parts = list(dict.fromkeys(part for found in values.values() for part in found))
    if all(part.isdigit() for part in parts):
        parts.sort(key=int)
    lines = [f"| {metric} of | {' | '.join(map(_label, groups))} |"]
    lines.append("|---" * (len(groups) + 1) + "|")
    for part in parts:
        found = [[values[id(r)][part] for r in group if part in values[id(r)]] for group in groups]
        cells = [_number(v, len(group)) for v, group in zip(found, groups, strict=True)]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return f"{_heading(protocol, groups)}\n\n" + "\n".join(lines)


def _matrices(protocol: Protocol, runs: Sequence[_Run]) -> list[str]:
    """Return each group's confusion matrix for one protocol; pairs never confused count 0."""
    found = []
    for group in _groups(run for run in runs if protocol in run.matrices):
        steps, matrices = zip(*(run.matrices[protocol] for run in group), strict=True)
        counts, classes = [matrix.counts for matrix in matrices], matrices[0].classes
        cells = [
            [_number(values[~np.isnan(values)].tolist(), len(group)) for values in row]
            for row in np.stack(counts, -1)  # [true, predicted, run]
        ]
        at = ", ".join(map(str, sorted({*steps})))
        title = f"Confusion of {_label(group)} at step {at}, {DIRECTION} (images)."
        found.append(f"{title} {_heading(protocol, [group])}\n\n{markdown(classes, cells)}")
    return found


def _heading(protocol: Protocol, groups: Sequence[Sequence[_Run]]) -> str:
    """Return a line with the protocol by which these runs were measured."""
    marks = f"data `{protocol.data[:8]}`"
    marks += f", weights `{protocol.weights[:8]}`" if protocol.weights else ""
    several = any(len(group) > 1 for group in groups)
    deviation = " Mean ± standard deviation over the seeds." if several else ""
    return f"Protocol `{protocol}`: {groups[0][0].images}; {marks}.{deviation}"


def _label(group: Sequence[_Run]) -> str:
    """Return the common prefix of the runs' names: dcgan_s0, dcgan_s1 -> dcgan."""
    names = [run.workdir.resolve().name for run in group]
    if len(names) == 1:
        return names[0]
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in same)
    return re.sub(r"[-_.](s|seed)?$", "", common) or ", ".join(names)


def _number(values: Sequence[float], runs: int) -> str:
    """Format a mean to the second digit of its standard deviation, a single value to four digits.

    If not all runs have the number, "(n of runs)" is added: the mean is over those that have it.
    """
    if not values:
        return ""
    few = f" ({len(values)} of {runs})" if len(values) < runs else ""
    mean = float(np.mean(values))
    if len(values) == 1 or not math.isfinite(mean):
        return f"{mean:.4g}{few}"
    deviation = float(np.std(values, ddof=1))
    if deviation == 0:
        return f"{mean:.4g} ± 0{few}"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}{few}"


def _replace(place: Path, text: str) -> None:
    """Replace the section between its BEGIN and END lines in a Markdown file.

    FILE#NAME selects the section of that name, FILE the first.
    """
    name, path = "", place
    if "#" in place.name and not place.is_file():
        file, _, name = place.name.partition("#")
        path = place.with_name(file)
    there = path.read_text() if path.is_file() else ""
    pattern = re.escape(BEGIN).replace(r"\{\}", re.escape(name) if name else "(.*?)")
    found = re.search(f"(?:{pattern})\n.*?{re.escape(END)}", there, re.DOTALL)
    if found is None:
        raise UserError(
            f"--output={place} has no place for tables: a Markdown file with the lines"
            f" {BEGIN.format(name or 'NAME')} and {END}"
        )
    begin = found.group().partition("\n")[0]
    changed = f"{there[: found.start()]}{begin}\n\n{text}\n\n{END}{there[found.end() :]}"
    write_text(path, changed)
