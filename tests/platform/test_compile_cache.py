"""The compilation cache: its folder, and that a second start uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from gan_jax.platform.compile_cache import (
    DIR,
    MAX_SIZE,
    MIN_SECONDS,
    keep_compiled_programs,
    machine,
)


@pytest.fixture(autouse=True)
def _no_cache_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (DIR, MAX_SIZE, MIN_SECONDS):
        monkeypatch.delenv(name, raising=False)


def test_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "gan_jax" / f"compiled-{machine()}"
    assert keep_compiled_programs() == folder and folder.is_dir()
    assert os.environ[DIR] == str(folder)
    monkeypatch.setenv(DIR, "/somewhere")
    assert keep_compiled_programs() is None and os.environ[DIR] == "/somewhere"


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert keep_compiled_programs() is None and DIR not in os.environ


@pytest.mark.slow
def test_a_second_start_compiles_nothing_new(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    found = []
    for run in ("first", "second"):
        command = [sys.executable, "main.py", "--config=configs/dcgan.py:smoke"]
        subprocess.run(
            [*command, f"--workdir={tmp_path / run}"],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        found.append({p.name for p in cache.rglob("*-cache")})
    assert found[0] and found[1] == found[0]
