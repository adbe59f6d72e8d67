"""The rows of a run of accelerator.py, each written immediately and atomically."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.core.files import written_whole


@dataclasses.dataclass
class Results:
    """Rows in tables, in DIR/results.md and DIR/results.json.

    Attributes:
      folder: DIR.
      header: what holds for all rows: command, date, device, driver, versions.
      rows: {"part", "table", "cells"} each.
    """

    folder: Path
    header: Mapping[str, Any]
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Take a row and write both files."""
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Write both files."""
        whole = {"header": dict(self.header), "rows": self.rows}
        for name, text in (
            ("results.md", self.markdown()),
            ("results.json", json.dumps(whole, indent=1) + "\n"),
        ):
            with written_whole(self.folder / name) as file:
                file.write(text.encode())

    def markdown(self) -> str:
        """Return header and tables; a table's columns are those of all its rows."""
        lines = [f"- {name}: {value}" for name, value in self.header.items()]
        for table in dict.fromkeys(row["table"] for row in self.rows):
            rows = [row["cells"] for row in self.rows if row["table"] == table]
            columns = list(dict.fromkeys(name for cells in rows for name in cells))
            columns.sort(key=lambda name: name == "note")  # last
            lines += ["", f"**{table}**", "", _line(columns), _line(["---"] * len(columns))]
            lines += [_line([said(cells.get(name, "")) for name in columns]) for cells in rows]
        return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def said(value: Any) -> str:
    """Format a number with three or four significant digits; return anything else unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e15:
        return f"{value:.1e}"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
