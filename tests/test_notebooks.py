"""Every notebook runs from top to bottom, and is committed with its pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


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
