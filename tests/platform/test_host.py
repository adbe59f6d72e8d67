"""The setup of the process before JAX starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from gan_jax.core.errors import UserError
from gan_jax.platform.host import (
    check_deterministic,
    convolve_by_eigen,
    deterministic_gpus,
    enough_threads,
    without_missing_tpu,
)


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        ("", None, None),
        ("--xla_force_host_platform_device_count=512", None, "1024"),
        ("--xla_force_host_platform_device_count=512", "7", "7"),
    ],
)
def test_threads_for_simulated_devices(
    flags: str, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setenv("NPROC", before or "")
    if before is None:
        monkeypatch.delenv("NPROC")
    enough_threads()
    assert os.environ.get("NPROC") == after


@pytest.mark.parametrize(
    ("installed", "files", "before", "after"),
    [
        (True, [], None, "cpu"),
        (True, [], "tpu", "tpu"),
        (True, ["/dev/accel0"], None, None),
        (False, [], None, None),
    ],
)
def test_no_tpu_is_looked_for_where_none_is(
    installed: bool,
    files: list[str],
    before: str | None,
    after: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("glob.glob", lambda pattern: files)
    monkeypatch.setenv("JAX_PLATFORMS", before or "")
    if before is None:
        monkeypatch.delenv("JAX_PLATFORMS")
    without_missing_tpu()
    assert os.environ.get("JAX_PLATFORMS") == after


@pytest.mark.parametrize(
    ("flags", "version", "files", "after"),
    [
        ("", "0.10.2", [], "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"),
        ("--a=1", "0.10.2", [], "--a=1 --xla_cpu_experimental_ynn_fusion_type=-individual_conv"),
        ("--xla_cpu_experimental_ynn_fusion_type=dot", "0.10.2", [], "="),
        ("--a=1", "0.12.0.1", [], "--a=1 --xla_cpu_experimental_ynn_fusion_type=-individual_conv"),
        ("--a=1", "0.13.0", [], "="),
        ("--a=1", "0.10.2", ["/dev/nvidiactl"], "="),
    ],
)
def test_flag_of_convolutions(
    flags: str, version: str, files: list[str], after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    monkeypatch.setattr("glob.glob", lambda pattern: files)
    assert convolve_by_eigen() == (after != "=")
    assert os.environ["XLA_FLAGS"].startswith(flags if after == "=" else after)


LAYERS = """
import jax
from gan_jax.ops.convolution import conv2d
x, kernel = jax.numpy.ones((2, 8, 8, 64)), jax.numpy.ones((3, 3, 64, 64))
conv = jax.jit(lambda x, kernel: conv2d(x, kernel, padding="SAME"))
print("ynn" in conv.lower(x, kernel).compile().as_text())
"""


def test_layers_convolve_by_eigen_after_jax_was_imported() -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", LAYERS], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_deterministic_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    with pytest.raises(UserError, match=r"deterministic_ops=true in XLA_FLAGS before JAX starts"):
        check_deterministic()
    for _ in range(2):
        deterministic_gpus()
        assert os.environ["XLA_FLAGS"] == "--a=1 --xla_gpu_deterministic_ops=true"
    check_deterministic()


def test_a_training_sets_the_flag_that_xla_knows(tmp_path: Path) -> None:
    """XLA ends the process at an unknown flag, also on a machine without a GPU."""
    train = ["--config=configs/vae.py:smoke", "--config.train.deterministic=true"]
    script = "import os, sys, main; code = main.main(sys.argv[1:]); print(os.environ['XLA_FLAGS'])"
    command = [sys.executable, "-c", f"{script}; sys.exit(code)", *train]
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(
        [*command, f"--workdir={tmp_path}/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "--xla_gpu_deterministic_ops=true" in done.stdout.splitlines()[-1]
