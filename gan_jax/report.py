"""The results table: metrics of several runs as Markdown, runs that differ by their seed together.

A table has one protocol: equal names of metrics after the first word, the same feature weights and
the same data, by their fingerprints. Numbers of another protocol stand in another table.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_jax.config import RESUMABLE, flatten
from gan_jax.errors import UserError, did_you_mean
from gan_jax.workdir import read_config, read_spec, write_text

BEGIN, END = "<!-- results: {} -->", "<!-- end of results -->"


@dataclasses.dataclass(frozen=True)
class _Protocol:
    """What numbers must share to stand side by side: the table's heading."""

    name: str  # of a metric, after its first word
    weights: str  # of the feature network
    data: str
    images: str  # what the data are, for people

    def __str__(self) -> str:
        marks = f"data `{self.data[:8]}`" + (
            f", weights `{self.weights[:8]}`" if self.weights else ""
        )
        return f"Protocol `{self.name}`: {self.images}; {marks}."


@dataclasses.dataclass
class _Run:
    """The evaluations of one run at its newest step that has them."""

    workdir: Path
    settings: str  # its config, but for the seed and what cannot change its weights
    seed: int
    values: dict[_Protocol, dict[str, tuple[int, float]]]  # metric -> (step, value)


def report(
    workdirs: Sequence[Path], metrics: Sequence[str] = (), output: Path | None = None
) -> str:
    """Return the results of runs as Markdown tables.

    Args:
      workdirs: runs that were evaluated.
      metrics: first words of the names to show, in that order; () shows all.
      output: a Markdown file, whose part between the lines BEGIN and END is replaced; with
        several such parts FILE#NAME says which.

    Raises:
      UserError: no run, none evaluated, a metric that none has, or no such part in the file.
    """
    runs = [_read(workdir) for workdir in workdirs]
    there = sorted({m for run in runs for found in run.values.values() for m in found})
    for name in metrics:
        if name not in there:
            raise UserError(
                f"--metrics={name}: none of the runs has it{did_you_mean(name, there)}; they have"
                f" {', '.join(there) or 'no evaluation: use --mode=eval first'}"
            )
    if not there:
        raise UserError("none of the runs was evaluated: use --mode=eval --workdir=RUN first")
    protocols = sorted({p for run in runs for p in run.values}, key=dataclasses.astuple)
    tables = [_table(protocol, runs, metrics or there) for protocol in protocols]
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
    settings["train.steps"] = fields["train.steps"]  # resumable, and yet another result
    values: dict[_Protocol, dict[str, tuple[int, float]]] = {}
    height, width, channels = spec.image_shape
    images = f"{spec.name}, {height}x{width}x{channels}"
    files = [p for p in (workdir / "eval").glob("*.json") if p.stem.isdigit()]
    for path in sorted(files, key=lambda p: int(p.stem)):  # the newest step comes last, and stays
        about_path = path.with_suffix(".about.json")
        about = json.loads(about_path.read_text()) if about_path.is_file() else {}
        for name, value in json.loads(path.read_text()).items():
            metric, _, rest = name.partition("/")
            weights = about.get(name, {}).get("weights", "")
            protocol = _Protocol(rest, weights, spec.fingerprint, images)
            values.setdefault(protocol, {})[metric] = (int(path.stem), value)
    return _Run(workdir, json.dumps(settings, sort_keys=True), config.seed, values)


def _table(protocol: _Protocol, runs: Sequence[_Run], metrics: Sequence[str]) -> str:
    """Return the table of one protocol; "" where no run has a number of it."""
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        if any(metric in run.values.get(protocol, {}) for metric in metrics):
            groups.setdefault(run.settings, []).append(run)
    shown = [m for m in metrics if any(m in r.values.get(protocol, {}) for r in runs)]
    if not groups:
        return ""
    lines = [f"| run | seeds | step | {' | '.join(shown)} |", "|---" * (len(shown) + 3) + "|"]
    for group in groups.values():
        found = [run.values[protocol] for run in group]
        steps = sorted({step for values in found for step, _ in values.values()})
        cells = [_label(group), ", ".join(str(run.seed) for run in group)]
        cells.append(", ".join(map(str, steps)))
        cells += [_number([v[m][1] for v in found if m in v]) for m in shown]
        lines.append(f"| {' | '.join(cells)} |")
    several = any(len(group) > 1 for group in groups.values())
    deviation = " Mean ± standard deviation over the seeds." if several else ""
    return f"{protocol}{deviation}\n\n" + "\n".join(lines)


def _label(group: Sequence[_Run]) -> str:
    """Return what the names of the runs have in common: dcgan_s0, dcgan_s1 -> dcgan."""
    names = [run.workdir.resolve().name for run in group]
    if len(names) == 1:
        return names[0]
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in same)
    return re.sub(r"[-_.](s|seed)?$", "", common) or ", ".join(names)


def _number(values: Sequence[float]) -> str:
    """Format a mean to the second digit of its deviation; one value to four digits."""
    if not values:
        return ""
    mean = float(np.mean(values))
    if len(values) == 1 or not math.isfinite(mean):
        return f"{mean:.4g}"
    deviation = float(np.std(values, ddof=1))
    if deviation == 0:
        return f"{mean:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _replace(place: Path, text: str) -> None:
    """Put the tables between the two lines that mark their place in a Markdown file.

    FILE#NAME is the place of that name, FILE the first.
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
