"""Metrics of a training: written at once, not duplicated by a resume, readable by other tools."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from gan_jax.rundir.writer import Writer, read_metrics


def lines(workdir: Path) -> list[str]:
    return (workdir / "metrics.jsonl").read_text().splitlines()


def untimed(workdir: Path) -> list[dict]:
    return [{k: v for k, v in m.items() if k != "time/unix"} for m in read_metrics(workdir)]


def train(workdir: Path, first: int, last: int, total: int = 10) -> None:
    with Writer(workdir, total, resume_step=first) as writer:
        for step in range(first + 1, last + 1):
            writer.scalars(step, {"loss": step / 4}, progress={"time/images_per_second": 100.0})


def test_a_step_is_one_line_that_reaches_the_file_when_it_is_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Writer(run, 10, resume_step=0) as writer:
        assert lines(run) == []
        before = time.time()
        writer.scalars(1, {"gen": 0.5, "disc": 1.25})
        writer.end_step()
        assert untimed(run) == [{"step": 1, "gen": 0.5, "disc": 1.25}]
        assert before - 1 <= read_metrics(run)[0]["time/unix"] <= time.time() + 1
        writer.scalars(2, {"gen": 0.25}, progress={"time/images_per_second": 7.0})
        writer.scalars(2, {"eval/loss": 3.0})
        writer.scalars(2, {"spectral_norm/gen": 1.0})
        assert len(lines(run)) == 1
        writer.scalars(4, {"gen": 0.125})  # this ends step 2
        both = {"gen": 0.25, "time/images_per_second": 7.0, "eval/loss": 3.0}
        assert untimed(run)[1:] == [{"step": 2, **both, "spectral_norm/gen": 1.0}]
        writer.rewind(2)
        writer.scalars(3, {"gen": 0.5})
    assert [m["step"] for m in read_metrics(run)] == [1, 2, 3] and len(lines(run)) == 3


def test_lines_of_older_runs_are_put_together(tmp_path: Path) -> None:
    rows = [{"step": 1, "gen": 0.5}, {"step": 1, "eval/fid": 2.0}, {"step": 2, "gen": 0.25}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_metrics(tmp_path) == [{"step": 1, "gen": 0.5, "eval/fid": 2.0}, rows[2]]


def test_hyper_parameters(tmp_path: Path) -> None:
    """As read by TensorBoard's table of runs."""
    fields = {"optim.gen.lr": 1e-3, "task.name": "gan", "terms.flip": True, "data.size": [8, 8]}
    with Writer(tmp_path, 1, resume_step=0) as writer:
        writer.hyper_parameters(fields, ["eval/fid"])
    found = {v.tag: v.metadata.plugin_data for e in read_events(tmp_path) for v in e.summary.value}
    assert {data.plugin_name for data in found.values()} == {"hparams"}
    start = HParamsPluginData.FromString(found["_hparams_/session_start_info"].content)
    known = start.session_start_info.hparams
    assert known["optim.gen.lr"].number_value == 1e-3 and known["terms.flip"].bool_value is True
    assert known["task.name"].string_value == "gan" and known["data.size"].string_value == "[8, 8]"
    experiment = HParamsPluginData.FromString(found["_hparams_/experiment"].content).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["eval/fid"]
    assert {info.name for info in experiment.hparam_infos} == fields.keys()


def test_pytorch_is_not_imported_for_it() -> None:
    """Importing it takes seconds; it must still be possible afterwards."""
    program = (
        "import sys, gan_jax.rundir.writer\n"
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
    train(tmp_path, 0, 1)  # no checkpoint was left: start from the beginning
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
        found = {"accuracy": 0.5, "fid/cnn:run/eval/8": 1234.5, "accuracy[3]": 1.0}
        writer.evaluated(110, found, best=False)
        writer.evaluated(120, {"accuracy": 0.75}, best=True)
    captured = capsys.readouterr()
    # 5 steps per second, 90 steps left.
    assert captured.out.splitlines() == [
        "step 110/200  12,346 images/s  0:18 left  gen 0.1235",
        "step 110/200  eval  accuracy 0.5  fid 1234",
        "step 120/200  eval  accuracy 0.75  (best so far)",
    ]
    assert captured.err == ""


def test_output_in_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Writer(tmp_path, 10, resume_step=4) as writer:
        writer.scalars(5, {"loss": 0.5}, progress={"time/images_per_second": 10.0})
        writer.evaluated(5, {"accuracy[3]": 1.0, "elbo": -7.0}, best=True)
        with pytest.raises(RuntimeError), Writer(tmp_path / "x", 10, resume_step=0):
            raise RuntimeError
    captured = capsys.readouterr()
    assert captured.out == "" and "5/10" in captured.err and "loss 0.5" in captured.err
    assert "step 5/10  eval  elbo -7  (best so far)" in captured.err


def read_events(workdir: Path) -> list[Event]:
    """Read TensorBoard's files: records of length, checksum, content, checksum."""
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
        events = read_events(tmp_path)  # before the writer is closed
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
