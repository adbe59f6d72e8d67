"""Every notebook runs from top to bottom, and is committed with its pictures."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What imports the package and is run by hand.
PAGES = [
    *NOTEBOOKS,
    *(ROOT / page for page in ("README.md", "gan_jax/library/README.md")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]


def programs(path: Path) -> list[str]:
    """Return the programs of a page: a notebook's cells, Markdown's blocks, a whole file."""
    if path.suffix == ".py":
        return [path.read_text()]
    if path.suffix == ".md":
        return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_there(path: Path) -> None:
    """Of this package: a name that moved is noticed where nothing is executed."""
    found = programs(path)
    assert found
    for node in (node for program in found for node in ast.walk(ast.parse(program))):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "gan_jax":
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the notebook trains is trained anew.
    shutil.rmtree(ROOT / "runs" / "notebook_vae", ignore_errors=True)
    if not (ROOT / "runs" / "quickstart" / "checkpoints").is_dir():
        pytest.skip("no run in runs/quickstart: make it with python main.py")
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    # A notebook runs on the devices that its reader has, not on the simulated ones of the tests.
    monkeypatch.delenv("XLA_FLAGS")
    client.execute()  # raises what a cell raises


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shows_its_pictures(path: Path) -> None:
    outputs = [
        o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])
    ]
    assert not [o for o in outputs if o.output_type == "error"]
    assert [o for o in outputs if "image/png" in o.get("data", {})]
    assert str(ROOT) not in path.read_text(), "a path of this machine"
