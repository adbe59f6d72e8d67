"""The model zoo: write configs/README.md from configs/sources.json.

    python -m configs.zoo_common

The table says of every number that a config takes from a paper, or from its authors' code, what it
is here, what it is there and where, and why it differs. `tests/configs/test_sources.py` holds the
table to the configs, and the page to the table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
OWN = {"folder": ",path=DIR", "pairs": ",path=DIR,target_path=DIR"}  # presets of one's own images
HEAD = """# The model zoo

Every config with its paper, its authors' code, and the source of its numbers. A row compares one
field of the config with what is published: our value, the published one, where that is stated (a
section, table or equation of the paper, or a file of the code), and "same" or why the two differ.
A dash stands where nothing is published, or where it could not be verified; the last column says
which. `{gen,disc}` stands for both networks. Rows are of the preset in the config's command, unless
they name another one. All fields of a config, with the defaults: `--mode=inspect`.

This page is written by `python -m configs.zoo_common` from `sources.json`: edit that file.
"""


def read_table() -> dict[str, dict[str, Any]]:
    """Return {config: {"preset": ..., "paper": ..., "code": ..., "rows": [...]}}."""
    return json.loads((FOLDER / "sources.json").read_text(encoding="utf-8"))


def page(table: dict[str, dict[str, Any]]) -> str:
    """Return the text of configs/README.md."""
    return "\n".join([HEAD, *(_section(name, table[name]) for name in sorted(table))])


def _section(name: str, entry: dict[str, Any]) -> str:
    argument = entry["preset"] + OWN.get(entry["preset"], "")
    lines = [f"## {name}", "", f"`python main.py --config=configs/{name}.py:{argument}`", ""]
    lines.append(f"Paper: {entry['paper']}. Code: {entry['code'] or 'none found'}.")
    lines += ["", "| field | ours | published | source | same or why not |"]
    lines.append("|---|---|---|---|---|")
    fields: dict[tuple[str, ...], list[str]] = {}
    for row in entry["rows"]:  # both networks share a line where they share everything
        key = (_cell(row["value"]), _cell(row["published"]), row["source"] or "-")
        key += (row["why"] or "same", row.get("preset", ""), _of_either(row["field"]))
        fields.setdefault(key, []).append(row["field"])
    for (ours, published, source, why, preset, either), named in fields.items():
        field = f"`{either if len(named) > 1 else named[0]}`"
        field += f" of `:{preset}`" if preset else ""
        lines.append(f"| {field} | {ours} | {published} | {source} | {why} |")
    return "\n".join([*lines, ""])


def _of_either(field: str) -> str:
    for network in (".gen.", ".disc."):
        field = field.replace(network, ".{gen,disc}.")
    return field


def _cell(value: Any) -> str:
    """Return a value as text, a dash for none."""
    if value is None:
        return "-"
    return value if value and isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(page(read_table()), encoding="utf-8")
