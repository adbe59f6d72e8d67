"""Names with brackets are printed as they are: rich would read them as markup and drop them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from commands import make_images, succeed
from conftest import ROOT


def test_no_console_reads_markup() -> None:
    found = 0
    for path in (ROOT / "gan_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Console":
                given = {key.arg: getattr(key.value, "value", None) for key in node.keywords}
                assert given.get("markup") is False, f"{path}:{node.lineno}"
                found += 1
    assert found >= 4


def test_a_folder_and_its_classes(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    names = [f"{kind}/{i}.png" for kind in ("[red]", "b[old]") for i in range(6)]
    folder = make_images(tmp_path / "set[1]", names)
    (folder / "[note].txt").write_text("")
    config = "--config=configs/classifier.py:smoke"
    given = ["--config.data.source=folder", f"--config.data.path={folder}"]
    out = succeed(capsys, "--mode=inspect", config, *given)
    for text in ("set[1]", "[red]", "b[old]", "[note].txt"):
        assert text in out
