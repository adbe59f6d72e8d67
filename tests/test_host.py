"""What the process is given before JAX starts in it."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import jax
import pytest
from conftest import ROOT
from jax._src import monitoring

from gan_jax import host
from gan_jax.host import convolve_by_eigen, enough_threads, reuse_host_memory, without_missing_tpu
from gan_jax.parallel import make_parallel


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


PROGRAM = """
import sys
from gan_jax.host import reuse_host_memory
import numpy as np, resource
made = sys.argv[1] == "reused" and reuse_host_memory()
for _ in range(2):
    np.ones(2**24)  # 128 MiB
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.ones(2**24)
print(int(made), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_freed_memory_is_used_again() -> None:
    """Without the settings every array is mapped anew, and each of its pages faults."""
    found = {}
    for form in ("default", "reused"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, form], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        made, faults = map(int, done.stdout.split())
        if form == "reused" and not made:
            pytest.skip("another C library, or an accelerator")
        found[form] = faults
    assert found["reused"] < found["default"] / 10


def test_nothing_is_set_beside_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/nvidiactl"])
    assert not reuse_host_memory()


@pytest.mark.parametrize(
    ("flags", "version", "files", "after"),
    [
        ("", "0.10.2", [], "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"),
        ("--a=1", "0.10.2", [], "--a=1 --xla_cpu_experimental_ynn_fusion_type=-individual_conv"),
        ("--xla_cpu_experimental_ynn_fusion_type=dot", "0.10.2", [], "="),
        ("--a=1", "0.11.0", [], "="),
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
from gan_jax.models.convolution import conv2d
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


def test_what_a_compiler_freed_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, by whoever makes a mesh first; a program that compiles quickly is let be."""
    before = monitoring.get_event_duration_listeners()
    trims = []
    libc = types.SimpleNamespace(malloc_trim=trims.append)
    monkeypatch.setattr("ctypes.CDLL", lambda name: libc)
    host.give_back_after_compiling.cache_clear()
    make_parallel("jit", 1)
    make_parallel("jit", 1)
    (added,) = (x for x in monitoring.get_event_duration_listeners() if x not in before)
    try:
        monkeypatch.setattr(host, "_LONG", 0.0)
        jax.jit(lambda x: 2 * x + 23)(1.0).block_until_ready()
        assert trims and set(trims) == {0}
        trims.clear()
        monkeypatch.setattr(host, "_LONG", 1e9)
        jax.jit(lambda x: 3 * x + 23)(1.0).block_until_ready()
        assert not trims
    finally:
        monitoring.unregister_event_duration_listener(added)
        host.give_back_after_compiling.cache_clear()
