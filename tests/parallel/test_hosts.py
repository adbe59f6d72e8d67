"""Two real processes of four simulated devices each: training, evaluation, and failures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from commands import CONDITIONAL, SMOKE, check_error, make_images, succeed
from conftest import ROOT, smoke_config, xla_flags
from learning import DRAWING, rate, sgd

import gan_jax
from gan_jax.evaluation import passes
from gan_jax.experiment.train import train
from gan_jax.rundir.workdir import read_spec
from gan_jax.rundir.writer import read_metrics

FOUR = {
    **os.environ,
    "XLA_FLAGS": xla_flags(4),
    "NPROC": "8",
}
# Dead after eight seconds of silence instead of forty.
PROGRAM = """
import sys
from gan_jax.parallel import hosts
from gan_jax.platform import logs
logs.PATIENCE = 600.0
hosts.SILENCE, hosts._PULSE = 8.0, 1.0
import main
sys.exit(main.main(sys.argv[1:]))
"""
# The images of one process are NaN while position 48 is drawn.
POISON = """
import gan_jax.training.feed as t
from gan_jax.data.dataset import as_floats
real = t.batches
def poisoned(split, *, position, batch_size, **others):
    for stored in real(split, position=position, batch_size=batch_size, **others):
        batch = as_floats(stored)
        if position <= 48 < position + batch_size and others["shard"][0] == 1:
            batch["image"][:] = float("nan")
        position += batch_size
        yield batch
t.batches = poisoned
"""
CHANGES = dict(train__batch_size=16, train__log_every=1, eval__batch_size=16)


def start(workdir: Path, name: str, changes: dict, before: str = "") -> list[subprocess.Popen]:
    """Start both processes of a training; each runs the Python code `before` first."""
    fields = [f"--config.{k.replace('__', '.')}={v}" for k, v in changes.items()]
    return both([f"--config=configs/{name}.py:smoke", f"--workdir={workdir}", *fields], before)


def both(arguments: list[str], before: str = "") -> list[subprocess.Popen]:
    """Start both processes of a command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", before + PROGRAM, *arguments]
    command += [f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    return [
        subprocess.Popen(
            [*command, f"--process={i}"],
            cwd=ROOT,
            env=FOUR,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def finish(processes: list[subprocess.Popen]) -> list[str]:
    """Wait for both to succeed; return their output without gloo's messages."""
    found = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], found
    # Its threads write at once, so that a line may begin in the middle of another.
    gloos = ("[Gloo]", "peer ranks")
    return [
        "".join(x for x in out.splitlines(True) if not any(text in x for text in gloos))
        for out, _ in found
    ]


def plain(config_name: str, **changes: object) -> dict:
    """Return config fields for plain SGD, in the form of flags."""
    config = sgd(smoke_config(config_name))
    rules = {"name": "sgd", "lr": rate(config_name)}
    optim = {f"optim__{net}__{k}": v for net in config.optim for k, v in rules.items()}
    return {**CHANGES, **DRAWING[config_name], **optim, **changes}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWING)
def test_two_processes_learn_what_one_learns(name: str, tmp_path: Path) -> None:
    changes = plain(name, train__steps=3, train__save_every=3, eval__every=3)
    printed = finish(start(tmp_path / "two", name, changes))
    assert "trained to step 3" in printed[0] and printed[1] == "", "one writer"
    train(smoke_config(name, **changes), tmp_path / "one")
    two, one = (gan_jax.load(tmp_path / run, checkpoint="latest") for run in ("two", "one"))
    assert two.step == 3
    chex.assert_trees_all_close(
        jax.device_get(two.state), jax.device_get(one.state), atol=1e-5, rtol=1e-5
    )
    lines = [read_metrics(tmp_path / run) for run in ("two", "one")]
    for a, b in zip(*lines, strict=True):
        assert a.keys() == b.keys()
        for key in (k for k in a if not k.startswith("time/")):
            assert a[key] == pytest.approx(b[key], rel=1e-3, abs=1e-4), key
    assert read_spec(tmp_path / "two") == read_spec(tmp_path / "one")
    names = [sorted(p.name for p in (tmp_path / r).glob("samples/*")) for r in ("two", "one")]
    assert names[0] == names[1]


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(trained, tmp_path: Path) -> None:
    """Features (real and generated), moments and patches cover the images of both processes."""
    measured = dict(eval__metrics="fid,swd", eval__features=f"cnn:{trained('classifier').workdir}")
    changes = plain("dcgan", train__steps=2, eval__every=2, train__save_every=2, **measured)
    finish(start(tmp_path / "two", "dcgan", changes))
    train(smoke_config("dcgan", **changes), tmp_path / "one")
    two, one = (
        {name: value for line in read_metrics(tmp_path / r) for name, value in line.items()}
        for r in ("two", "one")
    )
    two, one = ({k: v for k, v in d.items() if k.startswith("eval/")} for d in (two, one))
    assert {name.split("/")[1] for name in two} >= {"fid", "swd"}
    assert two == pytest.approx(one, rel=1e-3)


# The images of each pass are stored as well.
KEEP = """
import pathlib, jax, numpy as np
import gan_jax.evaluation.passes as p
collect = p.collect
def keeping(batches, needs):
    side = collect(batches, needs)
    folder = pathlib.Path({folder!r}, f"process{{jax.process_index()}}")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{{len(list(folder.iterdir()))}}.npy", side.images)
    return side
p.collect = keeping
"""


@pytest.mark.slow
def test_two_processes_evaluate_as_one(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Images agree within one grey level, metrics within 1e-3; one process prints and writes."""
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (1400, 16, 16, 1), np.uint8)
    np.savez(tmp_path / "data.npz", image=image, label=np.arange(1400) % 10)
    data = ["--config.data.source=npz", f"--config.data.path={tmp_path / 'data.npz'}"]
    one, two = tmp_path / "one", tmp_path / "two"
    succeed(capsys, SMOKE, f"--workdir={one}", *CONDITIONAL, *data)
    shutil.copytree(one, two)
    evaluate = ["--mode=eval", "--metrics=fid,kid,is,prdc,swd", "--split=train", "--seed=3"]
    evaluate += [f"--features=cnn:{trained('classifier').workdir}", "--num=1001"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache1"))
    before = KEEP.format(folder=str(tmp_path / "images_one"))
    with monkeypatch.context() as patch:
        patch.setattr(passes, "collect", passes.collect)
        exec(before, {})
        succeed(capsys, *evaluate, f"--workdir={one}")
    monkeypatch.setitem(FOUR, "XDG_CACHE_HOME", str(tmp_path / "cache2"))
    before = KEEP.format(folder=str(tmp_path / "images_two"))
    printed = finish(both([*evaluate, f"--workdir={two}"], before))
    assert "fid/cnn:run/train/1001" in printed[0] and printed[1] == ""
    found = [json.loads((run / "eval" / "2.json").read_text()) for run in (two, one)]
    assert {name.split("/")[0] for name in found[0]} >= {"fid", "kid", "is", "coverage_k5", "swd"}
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    expected = tmp_path / "images_one" / "process0"
    for process in (0, 1):
        for name, least in (("0.npy", 0), ("1.npy", 1)):  # real and generated
            a = np.load(tmp_path / "images_two" / f"process{process}" / name).astype(int)
            b = np.load(expected / name).astype(int)
            assert len(a) == 1001 and np.abs(a - b).max() <= least, name
    assert b.std() > 10


@pytest.mark.slow
def test_two_processes_compare_folders(
    cnn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """For 40 images and for 21, which divide by neither the batch nor the processes."""
    fake = make_images(tmp_path / "fake", [f"{i}.png" for i in range(21)], (10, 8))
    real = make_images(tmp_path / "real", [f"{i}.png" for i in range(40)], (10, 8))
    arguments = [f"--real={real}", f"--fake={fake}", f"--features={cnn}", "--metrics=fid,prdc"]
    monkeypatch.setitem(FOUR, "XDG_CACHE_HOME", str(tmp_path / "cache2"))
    printed = finish(both(["--mode=eval", *arguments]))
    assert printed[1] == ""
    two, one = (
        re.findall(r"^│ (\S+) +│ (\S+)", out, re.MULTILINE)
        for out in (printed[0], succeed(capsys, "--mode=eval", *arguments))
    )
    assert [name for name, _ in two] == [name for name, _ in one] and len(two) == 5
    for (name, a), (_, b) in zip(two, one, strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-3), name


@pytest.mark.slow
def test_two_processes_refuse_what_one_measures(gan: Path) -> None:
    processes = both(["--mode=eval", f"--workdir={gan}", "--metrics=ppl"])
    for process in processes:
        _, err = process.communicate(timeout=300)
        line = err.splitlines(keepends=True)[-1]
        says = ["--metrics=ppl is measured by one process", "--coordinator"]
        check_error(process.returncode, line, says)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_dies(victim: int, tmp_path: Path) -> None:
    """The other process reports it within two minutes; the run resumes in one process or in two."""
    workdir = tmp_path / "run"
    endless = {**CHANGES, "train__steps": 100_000, "train__save_every": 5, "train__sample_every": 0}
    processes = start(workdir, "vae", {**endless, "eval__every": 0})
    try:
        deadline = time.monotonic() + 240
        while not list(workdir.glob("checkpoints/*.sha256")):
            assert all(p.poll() is None for p in processes), [p.communicate() for p in processes]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        processes[victim].kill()
        died = time.monotonic()
        out, err = processes[1 - victim].communicate(timeout=120)
    finally:
        for process in processes:
            process.kill()
    assert time.monotonic() - died < 120
    assert processes[1 - victim].returncode == 2, (out, err)
    last = err.splitlines()[-1]
    assert last.startswith("error: another process was lost")
    assert "the last good checkpoint is step" in last and last.endswith("to resume")
    saved = gan_jax.load(workdir).step
    more = {**endless, "eval__every": 0, "train__steps": saved + 2}
    finish(start(workdir, "vae", more))
    assert gan_jax.load(workdir).step == saved + 2
    outcome = train(smoke_config("vae", **{**more, "train__steps": saved + 4}), workdir)
    assert (outcome.status, outcome.step) == ("trained", saved + 4)


@pytest.mark.slow
def test_both_roll_back(tmp_path: Path) -> None:
    changes = plain("vae", train__steps=6, train__save_every=2, train__on_nan="rollback")
    processes = start(tmp_path / "run", "vae", {**changes, "eval__every": 0}, POISON)
    found = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], found
    # Step 4 draws positions 48 to 63; it is saved, and so checked for NaN first.
    says = "at step 4: back to step 2, past the 32 examples drawn since"
    assert [says in err for _, err in found] == [True, False], "one says so"
    state = gan_jax.load(tmp_path / "run", checkpoint="latest").state
    assert (state.step, state.position) == (6, (6 + 2) * 16)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.nets)))


@pytest.mark.slow
def test_a_signal_to_one_stops_both(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    endless = {**CHANGES, "train__steps": 100_000, "train__save_every": 99_999, "eval__every": 0}
    processes = start(workdir, "vae", {**endless, "train__sample_every": 0})
    for line in processes[0].stdout:
        if line.startswith("step 3"):
            processes[1].send_signal(signal.SIGTERM)
            break
    out, _ = finish(processes)
    assert "interrupted: saved step" in out
    assert gan_jax.load(workdir).step >= 3
