"""Exact resume: a training that is killed and continued equals one that was never interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest
from conftest import FAMILIES, ROOT, Trained, smoke_config, xla_flags

import gan_jax
from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.experiment.train import train
from gan_jax.rundir.checkpoint import Checkpoints
from gan_jax.rundir.writer import read_metrics

# Long enough for the kill to come before the end, on a busy machine too.
STEPS, SAVE_EVERY = 40, 4
CHANGES = dict(
    train__steps=STEPS,
    train__save_every=SAVE_EVERY,
    train__sample_every=0,
    train__keep=3,
    eval__every=8,
)
VAE = "--config=configs/vae.py:smoke"
# Two devices, so that each batch is split; eight would mostly wait for two cores.
ENVIRONMENT = {**os.environ, "XLA_FLAGS": xla_flags(2)}


def command(name: str, workdir: Path) -> list[str]:
    fields = [f"--config.{k.replace('__', '.')}={v}" for k, v in CHANGES.items()]
    config = f"--config=configs/{name}.py:smoke"
    return [sys.executable, "main.py", config, f"--workdir={workdir}", *fields]


def kill_after_step(name: str, workdir: Path, step: int) -> None:
    """Start a training in its own process, and SIGKILL it once `step` is saved."""
    process = subprocess.Popen(
        command(name, workdir),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 120
        while not (workdir / "checkpoints" / f"{step}.sha256").exists():
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline, "no checkpoint in two minutes"
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL


def logged(workdir: Path) -> list[dict]:
    """Return the metrics without timings."""
    return [
        {k: v for k, v in line.items() if not k.startswith("time/")}
        for line in read_metrics(workdir)
    ]


OTHERS = [name for name in FAMILIES if name != "dcgan"]


def slow(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


RESTORERS = ("edsr", "dncnn", "inpaint", "colorize", "srgan")
SLOW = slow((*OTHERS, "sngan", "lapgan", "cyclegan", "iwae", "vae_gan", *RESTORERS))


@pytest.mark.parametrize("name", ["dcgan", *SLOW])
def test_killed_and_resumed_equals_unbroken(name: str, tmp_path: Path) -> None:
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    kill_after_step(name, broken, SAVE_EVERY)
    with Checkpoints(broken / "checkpoints", read_only=True) as checkpoints:
        resumed_from = checkpoints.latest()
    assert SAVE_EVERY <= resumed_from < STEPS, "the kill came too late to test anything"
    for workdir in (broken, unbroken):
        done = subprocess.run(
            command(name, workdir),
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    assert len(json.loads((broken / "environment.json").read_text())["starts"]) == 2
    one, two = (
        gan_jax.load(broken, checkpoint="latest"),
        gan_jax.load(unbroken, checkpoint="latest"),
    )
    assert one.step == two.step == STEPS
    chex.assert_trees_all_equal(jax.device_get(one.state), jax.device_get(two.state))
    assert logged(broken) == logged(unbroken)
    steps = [
        line["step"]
        for line in logged(broken)
        if {"loss", "gen", "level0/gen", "gen_ab", "l1", "hole", "chroma"} & set(line)
    ]
    assert steps == list(range(1, STEPS + 1)), "a line twice, or one missing"
    # The next batch is the same as well: the order is a function of (seed, position).
    split = open_data(one.config.data).splits["train"]
    nexts = [
        next(batches(split, seed=0, position=int(run.state.position), batch_size=8, draws=[1]))
        for run in (one, two)
    ]
    chex.assert_trees_all_equal(*nexts)


def killing(how: str, value: str, folder: Path, *arguments: str) -> list[str]:
    """Run tests/killing.py; return its lines, "killed" or "ended", one per attempt."""
    killing = Path(__file__).parents[1] / "killing.py"
    program = [sys.executable, str(killing), how, value, str(folder)]
    done = subprocess.run(
        [*program, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def check_equal(broken: Path, unbroken: Path) -> None:
    """Assert that two runs ended with the same bits and wrote the same numbers."""
    one, two = (gan_jax.load(run, checkpoint="latest") for run in (broken, unbroken))
    assert one.step == two.step
    chex.assert_trees_all_equal(jax.device_get(one.state), jax.device_get(two.state))
    assert logged(broken) == logged(unbroken)


# Changes of files that a start makes, by their number: the record is half written; the first
# checkpoint is, and not committed.
INSTANTS = (8, 30)
# The directory has its lock; one file of the record; all of it, and no folder of checkpoints; that
# is there, and empty; the first checkpoint is begun; it is committed, and has no sums.
MORE = (3, 6, 12, 13, 21, 32)


@pytest.mark.parametrize("instants", [INSTANTS, pytest.param(MORE, marks=pytest.mark.slow)])
def test_killed_around_the_first_checkpoint(
    trained: Callable[..., Trained], tmp_path: Path, instants: tuple[int, ...]
) -> None:
    broken = tmp_path / "run"
    attempts = killing("instants", ",".join(map(str, instants)), broken, VAE)
    assert attempts == ["killed"] * len(instants) + ["ended"]
    check_equal(broken, trained("vae").workdir)


@pytest.mark.slow
def test_two_hundred_kills_at_random(tmp_path: Path) -> None:
    fields = ["--config.train.steps=12", "--config.train.save_every=3"]
    attempts = killing("random", "200", tmp_path, VAE, *fields)
    assert attempts.count("killed") == 200
    runs = [path for path in tmp_path.iterdir() if path.name != "unbroken"]
    assert len(runs) == attempts.count("ended") - 1
    for run in runs:
        check_equal(run, tmp_path / "unbroken")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit_cleanly(number: int, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        [
            *command("dcgan", workdir),
            "--config.train.steps=100000",
            "--config.train.save_every=99999",
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("step 3"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"resume with:  python main.py --workdir={workdir}" in out
    assert "Traceback" not in err
    run = gan_jax.load(workdir)
    assert run.step >= 3
    last = read_metrics(workdir)[-1]["step"]
    assert last <= run.step


@pytest.mark.parametrize("name", [*OTHERS, "dncnn"])
def test_resumed_equals_unbroken(name: str, tmp_path: Path) -> None:
    """The other families, without a kill: a run depends on no state held by the process."""
    changes = dict(train__devices=1, train__save_every=2, train__sample_every=0, eval__every=0)
    config = smoke_config(name, eval__best="", **changes)
    if name in ("classifier", "dncnn"):  # another number of steps is another schedule
        config.optim.net.schedule = "constant"
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    for steps, workdir in ((2, broken), (4, broken), (4, unbroken)):
        config.train.steps = steps
        assert train(config, workdir).step == steps
    one, two = (gan_jax.load(path).state for path in (broken, unbroken))
    chex.assert_trees_all_equal(jax.device_get(one), jax.device_get(two))
    for line, expected in zip(logged(broken), logged(unbroken), strict=True):
        assert expected.items() <= line.items()  # at its first end it also logged health metrics


@pytest.mark.parametrize(
    ("first", "second"),
    [(("jit", 8), ("pmap", 8)), (("pmap", 8), ("jit", 1)), (("jit", 1), ("jit", 8))],
)
@pytest.mark.parametrize("name", ["dcgan", *slow(OTHERS)])
def test_resumes_under_any_other_mode(
    name: str, first: tuple[str, int], second: tuple[str, int], tmp_path: Path
) -> None:
    if name != "dcgan" and first != ("jit", 8):
        pytest.skip("one family goes through all the pairs")
    changes = dict(train__batch_size=16, train__sample_every=0, eval__every=0, eval__best="")
    for steps, (mode, devices) in ((1, first), (2, second)):
        config = smoke_config(
            name,
            train__steps=2,
            train__parallel=mode,
            train__devices=devices,
            **changes,
        )
        if name == "classifier":
            config.optim.net.schedule = "constant"
        config.train.steps = steps
        outcome = train(config, tmp_path / "run")
        assert (outcome.status, outcome.step) == ("trained", steps)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["train"]["parallel"] == second[0]
    leaves = jax.tree.leaves(gan_jax.load(tmp_path / "run").state.nets)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
