"""The model zoo: write configs/README.md from results/*.json, gan_grid.json and sources.json.

    python -m configs.zoo_common

The page has the results of every config (`configs/results_common.py`), the fields that a GAN is
made of, and of every number that a config takes from a paper or from its authors' code what it is
here, what it is there and where, and why it differs. Rows of results without parameters get their
counts first. `tests/configs/test_sources.py` and `test_results.py` hold these files to the configs,
and the page to the files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from configs.results_common import fill_in_parameters, read_results, results_page, write_results

FOLDER = Path(__file__).parent
# Presets of one's own images.
OWN = {
    "folder": ",path=DIR",
    "ab": ",path=DIR",
    "pairs": ",path=DIR,target_path=DIR",
    "unpaired": ",path=DIR,target_path=DIR",
}
GRID = """## What a GAN is made of

Every choice is a field of the config, and all combine. A combination that makes no sense, such as a
gradient penalty with BatchNorm in the discriminator, is refused in one line before training.

| what | field | choices |
|---|---|---|
"""
SOURCES = """## Sources of the numbers

A row compares one field of a config with what is published: our value, the published one, where
that is stated (a section, table or equation of the paper, or a file of the code), and "same" or why
the two differ. A dash stands where nothing is published, or where it could not be verified; the
last column says which. `{gen,disc}` stands for both networks. Rows are of the preset in the
config's command, unless they name another one. All fields of a config, with the defaults:
`--mode=inspect`.
"""
FOOT = """This page is written by `python -m configs.zoo_common` from `results/`, `gan_grid.json`
and `sources.json`: edit those files.
"""


def read_table() -> dict[str, dict[str, Any]]:
    """Return {config: {"preset": ..., "paper": ..., "code": ..., "rows": [...]}}."""
    return json.loads((FOLDER / "sources.json").read_text(encoding="utf-8"))


def page(table: dict[str, dict[str, Any]]) -> str:
    """Return the text of configs/README.md.

    Args:
      table: of the sources, as of `read_table`.
    """
    papers = {name: _linked(entry["paper"]) for name, entry in table.items()}
    results = results_page(read_results(), papers)
    sections = [_section(name, table[name]) for name in sorted(table)]
    return "\n".join([results, GRID + _grid(), SOURCES, *sections, FOOT])


def read_grid() -> list[dict[str, Any]]:
    """Return the rows of gan_grid.json: {"axis", "fields", "choices", "meaning"}."""
    return json.loads((FOLDER / "gan_grid.json").read_text(encoding="utf-8"))


def _grid() -> str:
    lines = []
    for row in read_grid():
        fields = ", ".join(f"`{field}`" for field in row["fields"])
        choices = ", ".join(row["choices"])
        about = "; ".join(part for part in (choices, row["meaning"]) if part)
        lines.append(f"| {row['axis']} | {fields} | {about} |\n")
    return "".join(lines)


def _linked(paper: str) -> str:
    """Return a paper with its arXiv numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{5}|\d{4}\.\d{4})", r"[\g<0>](https://arxiv.org/abs/\1)", paper)


def _section(name: str, entry: dict[str, Any]) -> str:
    argument = entry["preset"] + OWN.get(entry["preset"], "")
    lines = [f"### {name}", "", f"`python main.py --config=configs/{name}.py:{argument}`", ""]
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
    found = read_results()
    if fill_in_parameters(found):
        write_results(found)
    (FOLDER / "README.md").write_text(page(read_table()), encoding="utf-8")
