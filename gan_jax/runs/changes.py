"""What a run's owner changed on purpose while it was trained: the field or the data, and from when.

`changes.json` of the run holds a list, in the order of the steps. Imports no JAX.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.runs.workdir import write_text

DATA = "data"  # the field of a change of the examples themselves


@dataclasses.dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
      step: the checkpoint that it came after: the first step with it is the next one.
      field: of the config, or `DATA`.
      before, after: its values; of data, what `str(DataSpec)` says.
    """

    step: int
    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field} {self.before} -> {self.after} after step {self.step:,}"


def read_changes(workdir: Path) -> list[Change]:
    """Return the changes of a run; [] where there was none."""
    path = workdir / "changes.json"
    return [Change(**entry) for entry in json.loads(path.read_text())] if path.is_file() else []


def write_changes(
    workdir: Path, step: int, new: Mapping[str, tuple[Any, Any]], now: Mapping[str, Any]
) -> None:
    """Record what changes after `step`, beside what was recorded before.

    Args:
      workdir: of the run.
      step: of the checkpoint that the run goes on from. It may be older than the last change, where
        the checkpoints since were lost: that change then holds from here on.
      new: {field: (before, after)}.
      now: the value of every field from here on. A change that has another `after` at this step was
        recorded by a start that was killed before it could write the config.
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
