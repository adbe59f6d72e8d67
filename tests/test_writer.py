"""Numbers of a training: at once in the file, no line twice after a resume, readable elsewhere."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from tensorboardX.proto.event_pb2 import Event, SessionLog

from gan_jax.writer import Writer, read_metrics


def lines(workdir: Path) -> list[str]:
    return (workdir / "metrics.jsonl").read_text().splitlines()


def train(workdir: Path, first: int, last: int, total: int = 10) -> None:
    with Writer(workdir, total, resume_step=first) as writer:
        for step in range(first + 1, last + 1):
            writer.scalars(step, {"loss": step / 4}, progress={"time/images_per_second": 100.0})


def test_lines_reach_the_file_at_once(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", 10, resume_step=0) as writer:
        assert lines(tmp_path / "run") == []
        writer.scalars(1, {"gen": 0.5, "disc": 1.25})
        assert json.loads(lines(tmp_path / "run")[0]) == {"step": 1, "gen": 0.5, "disc": 1.25}
        writer.scalars(2, {"gen": 0.25}, progress={"time/images_per_second": 7.0})
        expected = {"step": 2, "gen": 0.25, "time/images_per_second": 7.0}
        assert read_metrics(tmp_path / "run")[1] == expected


def test_pytorch_is_not_imported_for_it() -> None:
    """That takes seconds, and is possible afterwards."""
    program = (
        "import sys, gan_jax.writer\n"
        "assert not any(m.split('.')[0] == 'torch' for m in sys.modules)\n"
    )
    if importlib.util.find_spec("torch"):
        program += "import torch\ntorch.zeros(1)\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_resume_drops_what_is_logged_again(tmp_path: Path) -> None:
    train(tmp_path, 0, 7)
    with Writer(tmp_path, 10, resume_step=4):
        assert [m["step"] for m in read_metrics(tmp_path)] == [1, 2, 3, 4]
    train(tmp_path, 4, 10)
    assert [m["step"] for m in read_metrics(tmp_path)] == list(range(1, 11))
    train(tmp_path, 0, 1)  # no checkpoint was left: from the beginning
    assert [m["step"] for m in read_metrics(tmp_path)] == [1]


@pytest.mark.parametrize("cut", [1, 2, 9, 20])
def test_a_line_that_a_kill_cut(cut: int, tmp_path: Path) -> None:
    train(tmp_path, 0, 3)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-cut])
    kept = [1, 2, 3] if cut == 1 else [1, 2]
    assert [m["step"] for m in read_metrics(tmp_path)] == kept
    train(tmp_path, 2, 4)
    assert [m["step"] for m in read_metrics(tmp_path)] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in lines(tmp_path))


def test_read_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    with Writer(tmp_path, 1, resume_step=0) as writer:
        writer.scalars(1, {"loss": math.nan, "other": math.inf})
    found = read_metrics(tmp_path)[0]
    assert math.isnan(found["loss"]) and found["other"] == math.inf


def test_output_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 2.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    with Writer(tmp_path, 200, resume_step=100) as writer:
        writer.scalars(
            110,
            {"gen": 0.12345678, "weights/gen": 3.0},
            progress={"time/images_per_second": 12345.6},
        )
        writer.scalars(110, {"eval/accuracy": 0.5})
    captured = capsys.readouterr()
    # 5 steps a second, 90 are left; what is only evaluated makes no line.
    assert captured.out == "step 110/200  12,346 images/s  0:18 left  gen 0.1235\n"
    assert captured.err == ""


def test_output_in_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Writer(tmp_path, 10, resume_step=4) as writer:
        writer.scalars(5, {"loss": 0.5}, progress={"time/images_per_second": 10.0})
        with pytest.raises(RuntimeError), Writer(tmp_path / "x", 10, resume_step=0):
            raise RuntimeError
    captured = capsys.readouterr()
    assert captured.out == "" and "5/10" in captured.err and "loss 0.5" in captured.err


def read_events(workdir: Path) -> list[Event]:
    """Read TensorBoard's files: records of length, its checksum, the content, its checksum."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            found.append(Event.FromString(content[at + 12 : at + 12 + size]))
            at += 16 + size
    return found


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tensorboard_files(channels: int, tmp_path: Path) -> None:
    with Writer(tmp_path, 10, resume_step=0) as writer:
        writer.scalars(3, {"gen": 0.5, "eval/accuracy": 0.25})
        writer.image(3, "samples", np.zeros((4, 6, channels), np.uint8))
        writer.flush()
        events = read_events(tmp_path)  # before it is closed
    values = {v.tag: (e.step, v) for e in events for v in e.summary.value}
    assert values["gen"][0] == 3 and values["gen"][1].simple_value == 0.5
    assert values["eval/accuracy"][1].simple_value == 0.25
    image = values["samples"][1].image
    assert (image.height, image.width) == (4, 6) and image.encoded_image_string[1:4] == b"PNG"


def test_tensorboard_is_purged_on_resume(tmp_path: Path) -> None:
    train(tmp_path, 0, 7)
    train(tmp_path, 4, 6)
    starts = [e.step for e in read_events(tmp_path) if e.session_log.status == SessionLog.START]
    assert starts == [1, 5]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2, "a resume overwrote the file"


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard here"
    )
    train(tmp_path, 0, 7)
    train(tmp_path, 4, 6)
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(e.step, e.value) for e in board.Scalars("loss")]
    assert found == [(step, step / 4) for step in range(1, 7)]


def test_full_disk_raises_the_first_error(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with (
        pytest.raises(OSError, match="No space left"),
        Writer(tmp_path, 9, resume_step=0) as writer,
    ):
        writer._file.close()
        writer._file = full.open("a", buffering=1)
        writer.scalars(1, {"loss": 1.0})
