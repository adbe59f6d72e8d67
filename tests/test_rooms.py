"""The order of the rooms of `gan_jax/`, by the contracts in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "gan_jax"
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def test_imports_point_down_and_in_no_circles() -> None:
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


def test_the_root_holds_rooms_only() -> None:
    """`python -m gan_jax` asks for a `__main__.py` there."""
    files = {path.name for path in PACKAGE.glob("*.py")}
    assert files == {"__init__.py", "__main__.py"}


def test_a_wheel_holds_every_room() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {path.relative_to(ROOT).as_posix().replace("/", ".") for path in [PACKAGE, *ROOMS]}
    assert {*settings["tool"]["setuptools"]["packages"]} == rooms | {"gan_jax.configs"}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())
def test_a_room_says_what_lives_there_and_is_not_too_large(room: Path) -> None:
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert len(list(room.glob("*.py"))) <= 18
