"""benchmarks/accelerator.py keeps its time, loses no row, and does what its tables say."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT

from benchmarks import accelerator
from benchmarks.flops import dcgan_step
from benchmarks.parts import fast, right, sides
from benchmarks.parts.results import Results, said
from benchmarks.processes import Failure, Process, reason

GOOD = "context.emit('numbers', what='one', value=0.5)"
# A part that starts a process, says which, and never ends.
LATE = f"""
import subprocess, sys, time
{GOOD}
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
context.emit('numbers', what='child', value=child.pid)
time.sleep(600)
"""
FAULTS = {
    "late": (LATE, "ended after its"),
    "fails": (f"{GOOD}\nraise ValueError('no such | device')", "ValueError: no such / device"),
    "crashes": ("import os\nos.abort()", "exit code -6"),
    "works": (GOOD, ""),
}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put parts that fail in the place of the real ones."""
    for name, (code, _) in FAULTS.items():
        body = "\n".join(f"    {line}" for line in code.splitlines())
        (tmp_path / f"part_{name}.py").write_text(f"def run(context):\n{body}\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(accelerator, "MODULE", "part_{}")
    monkeypatch.setattr(accelerator, "PARTS", {name: accelerator.Part(1, 1) for name in FAULTS})
    return tmp_path


def test_a_part_that_fails_or_is_late_is_a_row_and_the_next_goes_on(parts: Path) -> None:
    results = Results(parts / "out", {"command": "test"})
    flags = argparse.Namespace(
        only=None, budget=32.0, device="cpu", smoke=True, output=parts / "out"
    )
    began = time.monotonic()
    accelerator.run_all(flags, results, parts)
    assert time.monotonic() - began < flags.budget + 4
    rows = json.loads((parts / "out" / "results.json").read_text())["rows"]
    notes = {r["cells"]["part"]: r["cells"]["note"] for r in rows if r["table"] == "Parts"}
    assert list(notes) == list(FAULTS)
    for name, (code, why) in FAULTS.items():
        assert why in notes[name] and bool(why) == bool(notes[name])
        there = [r["cells"]["value"] for r in rows if r["part"] == name and r["table"] == "numbers"]
        assert (0.5 in there) == (GOOD in code)
    child = next(r["cells"]["value"] for r in rows if r["cells"].get("what") == "child")
    state = Path(f"/proc/{child}/stat")  # ended, and perhaps nobody's to bury
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_rows_are_written_at_once_and_tables_have_all_columns(tmp_path: Path) -> None:
    results = Results(tmp_path / "new", {"date": "today"})
    for place, cells in enumerate([{"a": 1, "note": "x"}, {"a": 12345.6, "b": None}]):
        results.add({"part": "p", "table": "t", "cells": cells})
        written = json.loads((tmp_path / "new" / "results.json").read_text())
        assert len(written["rows"]) == place + 1
    text = (tmp_path / "new" / "results.md").read_text()
    assert "- date: today" in text and "| a | b | note |" in text and "| 12,346 | None |  |" in text
    assert [said(x) for x in (0.12345, 1e-5, 0, 7, "a")] == ["0.123", "1.0e-05", "0", "7", "a"]
    many = [{"part": "p", "table": "t", "cells": {"a": "x" * 90}}] * 200
    assert len(accelerator.closing(Results(tmp_path, {}, many))) < 12_000


def test_a_process_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = Process("silent", command, tmp_path / "log", wait=False)
    with pytest.raises(Failure, match="no answer within 0 s"):
        process.ready(0.1)
    assert process.process.returncode is not None
    (tmp_path / "log").write_text("Traceback\nfoo.bar.SomeError: why\nYou can hide this\n\n")
    assert reason(tmp_path / "log") == "foo.bar.SomeError: why"


def test_operations_of_a_step_are_those_of_its_layers() -> None:
    found = fast.flops("DCGAN-64", tiny=False)
    assert 1 < found / dcgan_step(sides.problem("DCGAN-64", tiny=False)) < 1.1


@pytest.mark.parametrize("how", [dict(automatic_layouts=True), dict(steps_per_call=2)])
def test_other_forms_of_our_step_come_to_the_same_state(how: dict) -> None:
    problem = sides.problem("MLP VAE-28", tiny=True)
    plain, other = sides.OursAhead(problem), sides.OursAhead(problem, **how)
    for _ in range(2):
        plain.dispatch()
    for _ in range(2 // other.steps_per_call):
        other.dispatch()
    for a, b in zip(*map(jax.tree.leaves, (plain.state, other.state)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)
    assert other.kernels()["kernels"] > 0 and other.peak()["mib"] > 0


def test_errors_of_arrays_are_relative_and_rounding_counts_as_that() -> None:
    one = {"nets": {"gen": {"params": {"kernel": np.ones(100), "bias": np.full(1, 1e-9)}}}}
    other = jax.tree.map(lambda x: 1.01 * x, one)
    errors = right.array_errors(other, one)
    assert list(errors.values()) == pytest.approx([0, 0.01], abs=1e-6)


def test_steps_on_two_places_start_from_one_state() -> None:
    answers = right.compare("VAE", tiny=True)
    assert answers["steps"]("default")["max"] == 0
    rounded = answers["steps"]("bfloat16")
    assert 0 < rounded["median"] < 0.2 and rounded["first losses"] < 0.05
    assert answers["resume"]()["equal"] == [True] * 3


@pytest.mark.parametrize("form", ["bfloat16 channels_last", "reduce-overhead"])
def test_forms_of_a_twin(form: str) -> None:
    """The vectors of spectral normalisation stay float32, and where CUDA graphs read them."""
    torch = pytest.importorskip("torch")
    problem = sides.problem("SNGAN-32", tiny=True)
    ends = []
    for each in ("contiguous", form):
        torch.manual_seed(0)
        side = sides.TorchTimed(problem, each, "cpu")
        side.dispatch()
        ends.append(side.twin.nets["disc"].state_dict())
        assert side.peak()["mib"] > 0
    assert all(x.dtype == torch.float32 for x in ends[1].values() if x.is_floating_point())
    if form == "reduce-overhead":
        assert all(norm.u is place for norm, place in side.places)
        for a, b in zip(*map(dict.values, ends), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def run_script(output: Path, *flags: str) -> list[dict]:
    """Run the script on the CPU; return its rows."""
    command = [sys.executable, "benchmarks/accelerator.py", "--smoke", f"--output={output}", *flags]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    files = [path for path in output.rglob("*") if path.is_file()]
    assert len(files) <= 8 and all(path.stat().st_size < 2**24 for path in files)
    found = json.loads((output / "results.json").read_text())
    for word in ("command", "date", "device", "versions"):
        assert found["header"][word] and word in done.stdout
    return found["rows"]


def test_a_part_alone(tmp_path: Path) -> None:
    rows = run_script(tmp_path, "--only=device")
    assert sum(row["table"] == "Ceilings" for row in rows) == 4
    assert rows[-1]["cells"]["note"] == ""


@pytest.mark.slow
def test_the_whole_script(tmp_path: Path) -> None:
    rows = run_script(tmp_path, "--budget=1800")
    notes = {r["cells"]["part"]: r["cells"]["note"] for r in rows if r["table"] == "Parts"}
    assert list(notes) == list(accelerator.PARTS) and not any(notes.values())
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert [r for r in rows if r["table"] == fast.TABLE and r["cells"].get("images/s ours")]
    without = {"fast"} if shutil.which("g++") is None else set()
    failed = [r for r in rows if r["cells"].get("note") and r["part"] not in without]
    assert not failed
