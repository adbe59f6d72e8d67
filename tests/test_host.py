"""What the process is given before JAX starts in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

from gan_jax.host import enough_threads, reuse_host_memory


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
