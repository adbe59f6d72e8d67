"""NaN and a full disk stop a training; its checkpoints stay intact."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import (
    CONDITIONAL,
    SMOKE,
    check_error,
    refuse,
    succeed,
)
from conftest import ROOT, smoke_config

import gan_jax
import main
from gan_jax.cli import modes
from gan_jax.core.errors import UserError
from gan_jax.data.dataset import as_floats
from gan_jax.experiment.train import train
from gan_jax.parallel.mesh import Parallel
from gan_jax.parallel.resident import Resident
from gan_jax.rundir.writer import read_metrics


def test_nan_names_metric_and_step(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    arguments = ["--config=configs/vae.py:smoke", f"--workdir={workdir}"]
    capsys.readouterr()
    code = main.main(
        [*arguments, "--config.optim.decoder.lr=1e30", "--config.train.sample_every=0"]
    )
    err = capsys.readouterr().err
    check_error(code, err, ["training stopped", "checkpoint 1 is kept", "lower learning rate"])
    assert re.search(r"(elbo|kl|loss|reconstruction) is -?(nan|inf) at step 2", err)
    assert gan_jax.load(workdir).step == 1
    assert [line["step"] for line in read_metrics(workdir)] == [1, 2]


def test_nan_between_logs_makes_no_checkpoint(
    capsys: pytest.CaptureFixture, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_step = Parallel.compile_step

    def poisoned(self: Parallel, step: Callable) -> Callable:
        compiled = compile_step(self, step)

        def call(*arguments: object) -> tuple:
            state, metrics = compiled(*arguments)
            if state.step == 4:
                nets = {**state.nets, "gen": jax.tree.map(lambda x: x * np.nan, state.nets["gen"])}
                state = state.replace(nets=nets)
            return state, metrics

        return call

    monkeypatch.setattr(Parallel, "compile_step", poisoned)
    arguments = ["--config.train.steps=9", "--config.train.log_every=100"]
    code = main.main([f"--workdir={copied}", *arguments])
    err = capsys.readouterr().err
    check_error(code, err, ["weights/gen is nan at step 4", "checkpoint 3 is kept"])
    assert gan_jax.load(copied).step == 3


def poison(monkeypatch: pytest.MonkeyPatch, *positions: int, endless: bool = False) -> None:
    """Set the training examples drawn at these positions (or all later ones too) to NaN."""
    real = Resident.gather

    def poisoned(self: Resident, position: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        batch = as_floats(real(self, position, batch_size))
        at = position + jnp.arange(self.draws * batch_size).reshape(self.draws, batch_size, 1, 1, 1)
        bad = jnp.isin(at, jnp.asarray(positions))
        if endless:
            bad |= at > max(positions)
        return {**batch, "image": jnp.where(bad, jnp.nan, batch["image"])}

    monkeypatch.setattr(Resident, "gather", poisoned)


def vae(workdir: Path, **changes: object) -> None:
    """Train a VAE with 8 examples per step, saved every fourth step, with rollback on NaN."""
    fields = dict(train__steps=10, train__save_every=4, train__log_every=2, train__sample_every=0)
    fields |= dict(train__on_nan="rollback", eval__every=0, eval__best="", train__devices=1)
    config = smoke_config("vae", **{**fields, **changes})
    train(config, workdir)


def logged(workdir: Path) -> list[dict[str, float]]:
    """Return the metrics without timings."""
    lines = [{k: v for k, v in m.items() if "time/" not in k} for m in read_metrics(workdir)]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("steps_per_call", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rollback_skips_what_was_drawn(
    steps_per_call: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    poison(monkeypatch, 5 * 8 + 3)  # in the batch of step 6
    changes = dict(train__steps_per_call=steps_per_call)
    vae(tmp_path / "unbroken", **changes)
    # Step 6 is logged at step 8, before that is saved. The examples of steps 5 to 8 are skipped.
    says = "is nan at step 6: back to step 4, past the 32 examples drawn since (rollback 1 of at"
    assert says in caplog.text
    state = gan_jax.load(tmp_path / "unbroken", checkpoint="latest").state
    assert (state.step, state.position) == (10, (10 + 4) * 8)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.nets)))
    lines = logged(tmp_path / "unbroken")
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10], "a line twice, or one missing"
    assert all(np.isfinite(list(line.values())).all() for line in lines)

    # A run that stopped there (as if killed) and resumes does the same.
    broken = tmp_path / "broken"
    with pytest.raises(UserError, match=r"is nan at step 6: .* checkpoint 4 is kept; .*rollback"):
        vae(broken, train__on_nan="stop", **changes)
    assert gan_jax.load(broken, checkpoint="latest").step == 4
    vae(broken, **changes)
    again = gan_jax.load(broken, checkpoint="latest").state
    chex.assert_trees_all_equal(jax.device_get(again), jax.device_get(state))
    assert logged(broken) == lines


def test_rollback_before_any_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 0)
    vae(tmp_path / "run", train__steps=4, train__steps_per_call=2)
    state = gan_jax.load(tmp_path / "run", checkpoint="latest").state
    assert (state.step, state.position) == (4, (4 + 4) * 8), "from the initial weights"


def test_rollbacks_in_a_row_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 5 * 8, endless=True)
    with pytest.raises(UserError, match=r"stopped after 3 rollbacks in a row, checkpoint 4 is"):
        vae(tmp_path / "run")
    assert gan_jax.load(tmp_path / "run", checkpoint="latest").step == 4


def limited(workdir: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Train in a process that cannot write files larger than 20 kB, as if the disk were full."""
    program = (
        "import resource, runpy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "runpy.run_path('main.py', run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, SMOKE, *CONDITIONAL, f"--workdir={workdir}", *arguments],
        cwd=ROOT,
        # The compilation cache cannot be written either, and JAX would warn about it.
        env={**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1000"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("begun", [False, True])
def test_full_disk(capsys: pytest.CaptureFixture, gan: Path, workdir: Path, begun: bool) -> None:
    if begun:
        shutil.copytree(gan, workdir)
    done = limited(workdir, "--config.train.steps=4")
    kept = "step 2" if begun else "no checkpoint yet"
    check_error(done.returncode, done.stderr, ["File too large", kept, "make room", "resume"])
    out = succeed(capsys, SMOKE, *CONDITIONAL, f"--workdir={workdir}", "--config.train.steps=4")
    assert "trained to step 4" in out
    assert gan_jax.load(workdir).step == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 3 MB; skip if none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_small_and_read_only_disk(
    capsys: pytest.CaptureFixture, gan: Path, small_disk: Path
) -> None:
    workdir = small_disk / "run"
    command = [SMOKE, *CONDITIONAL, f"--workdir={workdir}", "--config.train.keep=50"]
    # In its own process: threads that met the error keep files open, and the disk busy.
    training = [sys.executable, "main.py", *command, "--config.train.steps=50"]
    done = subprocess.run(training, cwd=ROOT, capture_output=True, text=True)
    err = done.stderr.splitlines(keepends=True)[-1]
    check_error(done.returncode, err, ["No space left", "step", "make room"])
    good = gan_jax.load(workdir, checkpoint="latest").step
    assert f"step {good}" in err
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    says = ["Read-only file system", str(workdir)]
    refuse(capsys, *command, "--config.train.steps=60", says=says, keeps=workdir)
    refuse(capsys, "--mode=eval", f"--workdir={workdir}", says=says[:1], keeps=workdir)
    for output in (small_disk / "out", workdir / "generated"):
        arguments = ["--mode=sample", f"--workdir={gan}", f"--output={output}"]
        refuse(capsys, *arguments, says=[str(output), "cannot be written"], keeps=output)


def test_a_full_device_is_one_line_and_loses_nothing(
    capsys: pytest.CaptureFixture, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The out-of-memory error of a GPU, simulated by an allocation too large for any machine."""
    compile_step = Parallel.compile_step

    def full(self: Parallel, step: Callable) -> Callable:
        compiled = compile_step(self, step)

        def call(phase: object, state: object, *arguments: object) -> tuple:
            if state.step == 3:
                jnp.zeros(2**48, jnp.uint8).block_until_ready()
            return compiled(phase, state, *arguments)

        return call

    monkeypatch.setattr(Parallel, "compile_step", full)
    resume = [f"--workdir={copied}", "--config.train.steps=6"]
    says = [
        "out of memory at train.batch_size=8 (Out of memory allocating 281474976710656 bytes",
        "the last good checkpoint is step 3",
        "repeat the command with --config.train.microbatches=2 or --config.train.remat=true",
        "another --workdir with smaller train.batch_size or train.precision=bfloat16",
    ]
    one = "--config.train.devices=1"
    capsys.readouterr()
    check_error(main.main([*resume, one]), capsys.readouterr().err, says)
    monkeypatch.setattr(Parallel, "compile_step", compile_step)
    flags = [one, "--config.train.microbatches=2", "--config.train.remat=true"]
    assert "trained to step 6" in succeed(capsys, *resume, *flags)


def test_networks_larger_than_memory_are_one_line(
    capsys: pytest.CaptureFixture, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory before there is a run, and in a mode that does not train."""
    full = lambda *_: jnp.zeros(2**48, jnp.uint8).block_until_ready()  # noqa: E731
    monkeypatch.setattr(Parallel, "compile_init", lambda self, init: full)
    code = main.main(["--config=configs/vae.py:smoke", f"--workdir={workdir}"])
    check_error(code, capsys.readouterr().err, ["out of memory", "there is no checkpoint yet"])
    assert not (workdir / "config.json").exists()
    monkeypatch.setitem(modes.MODES, "inspect", full)
    code = main.main(["--mode=inspect"])
    check_error(code, capsys.readouterr().err, ["out of memory", "JAX_PLATFORMS=cpu"])
