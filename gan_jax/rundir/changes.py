"""Deliberate changes to a run between resumes (--change): which field or data, and from which step.

`changes.json` in the run's directory holds a list, ordered by step. Imports no JAX.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.rundir.workdir import write_text

DATA = "data"  # stands for a config field if the examples themselves change


@dataclasses.dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
      step: the checkpoint after which it applies: the next step is the first with the change.
      field: a config field, or `DATA`.
      before, after: its values; for data, `str(DataSpec)`.
    """

    step: int
    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field} {self.before} -> {self.after} after step {self.step:,}"


def read_changes(workdir: Path) -> list[Change]:
    """Return the changes of a run, [] if there were none."""
    path = workdir / "changes.json"
    return [Change(**entry) for entry in json.loads(path.read_text())] if path.is_file() else []


def write_changes(
    workdir: Path, step: int, new: Mapping[str, tuple[Any, Any]], now: Mapping[str, Any]
) -> None:
    """Record changes after `step`, in addition to earlier ones.

    Args:
      workdir: the run's directory.
      step: the checkpoint from which the run resumes. It may be older than the last change, if
        later checkpoints were lost: that change then applies from this step on.
      new: {field: (before, after)}.
      now: the value of every field from here on. A recorded change at this step whose `after`
        differs comes from a start that was killed before it wrote the config; it is dropped.
    """
    known = read_changes(workdir)
    kept = [c for c in known if c.step < step]
    here = [dataclasses.replace(c, step=step) for c in known if c.step >= step]
    here += [Change(step, field, *values) for field, values in new.items()]
    first = {c.field: c.before for c in reversed(here)}
    last = {c.field: c.after for c in here}
    kept += [
        Change(step, field, first[field], after)
        for field, after in last.items()
        if after == now.get(field) and after != first[field]
    ]
    if kept != known:
        entries = [dataclasses.asdict(change) for change in kept]
        write_text(workdir / "changes.json", json.dumps(entries, indent=2) + "\n")
