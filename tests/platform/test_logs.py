"""Logging, and messages printed during long waits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from commands import succeed

from gan_jax.cli import modes
from gan_jax.cli.flags import INTERRUPTED, main
from gan_jax.core.errors import UserError
from gan_jax.parallel import hosts
from gan_jax.platform import logs


def test_said_if_it_takes_long(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logs.print_if_slow("quick"):
        pass
    monkeypatch.setattr(logs, "PATIENCE", 0.01)
    done = threading.Event()
    for enabled in (True, False):
        with logs.print_if_slow("slow", enabled=enabled):
            done.wait(0.5)
    assert capsys.readouterr().out == "slow\n"


def test_compilation_is_said(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    monkeypatch.setattr(logs, "PATIENCE", 0.0)
    out = succeed(capsys, "--config=configs/vae.py:smoke", f"--workdir={workdir}")
    lines = out.splitlines()
    assert lines.count("compiling the step ...") == 1
    assert lines.index("initialising the networks ...") < lines.index("compiling the step ...")


@pytest.mark.parametrize(
    ("processes", "process", "says"),
    [
        (2, 0, "waiting for process 1 of 2 (localhost:1 is process 0) ..."),
        (2, 1, "waiting for process 0 of 2 (localhost:1 is process 0) ..."),
        (4, 1, "waiting for the other 3 processes of 4 (localhost:1 is process 0) ..."),
    ],
)
def test_others_that_are_waited_for_are_named(
    processes: int,
    process: int,
    says: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody(**_: object) -> None:
        threading.Event().wait(0.5)
        raise RuntimeError("DEADLINE_EXCEEDED: nobody came\nmore")

    monkeypatch.setattr(logs, "PATIENCE", 0.01)
    monkeypatch.setattr(hosts.jax.distributed, "initialize", nobody)
    with pytest.raises(UserError, match=r"cannot join.*nobody came"):
        hosts.join("localhost:1", processes, process)
    assert capsys.readouterr().out == f"{says}\n"


def test_ctrl_c_is_one_line(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(modes.MODES, "eval", interrupted)
    assert main(["--mode=eval", "--workdir=run"]) == INTERRUPTED == 130
    assert capsys.readouterr().err == "interrupted by Ctrl-C\n"
