"""The heap when computing on the CPU: memory is reused, and not fragmented by compilation."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

from gan_jax.platform.heap import reuse_host_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")


def run(program: str, *arguments: str) -> list[int]:
    """Return the numbers that a program prints; skip if the settings cannot be made."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if "none" in done.stdout:
        pytest.skip("another C library, or an accelerator")
    return [int(word) for word in done.stdout.split()]


REUSE = """
import sys
from gan_jax.platform.heap import reuse_host_memory
import numpy as np, resource
if sys.argv[1] == "reused" and not reuse_host_memory():
    print("none")
    raise SystemExit
for _ in range(2):
    np.ones(2**24)  # 128 MiB
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


def test_freed_memory_is_used_again() -> None:
    """Without the settings every array is mapped anew, with a page fault for each page."""
    (default,), (reused,) = run(REUSE, "default"), run(REUSE, "reused")
    assert reused < default / 10


PIECES = """
import ctypes, random, resource
from gan_jax.platform import heap
if not heap.reuse_host_memory():
    print("none")
    raise SystemExit
libc, draw = heap._glibc(), random.Random(0)
sizes = [draw.randrange(1500, 100_000) for _ in range(8000)]
blocks = [libc.malloc(size) for size in sizes]
for block, size in zip(blocks, sizes):
    ctypes.memset(block, 7, size)
for block in blocks[::2]:
    libc.free(block)

def below():  # blocks of a temporary's size that the heap finds among its pieces
    return sum(libc.malloc(20_000) < max(blocks) for _ in range(500))

def resident():  # MiB
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() >> 20

print(below(), resident(), heap.claim_fragments() >> 20, below(), resident())
temporaries = libc.malloc(2**28)
libc.free(temporaries)
kept = [libc.malloc(size) for size in (10_000, 100_000, 1_000_000)]
print((libc.malloc(2**28) == temporaries) + 0)
print(all(ctypes.string_at(b, s) == bytes([7]) * s for b, s in zip(blocks[1::2], sizes[1::2])) + 0)
"""


def test_pieces_are_taken() -> None:
    """Live blocks between the fragments are unchanged."""
    before, full, taken, after, resident, fits, whole = run(PIECES)
    assert before == 500 and after == 0
    assert full - resident > 150  # of 200 MiB that were freed, all but partial pages
    assert 150 < taken < 200  # in fragments of at least 1 KiB
    assert fits == 1  # although small blocks were allocated meanwhile
    assert whole == 1


COMPILE = """
import sys
from gan_jax.platform import heap
if sys.argv[1] == "reused" and not heap.reuse_host_memory():
    print("none")
    raise SystemExit
import jax
from gan_jax.parallel.mesh import make_parallel
taken = []
heap.claim_fragments = lambda: taken.append(1)
counts = []
for _ in range(2):  # the second asks for nothing new
    make_parallel("jit", 1)
    heap._LONG = 0.0
    jax.clear_caches()
    before = len(taken)
    jax.jit(lambda x: 2 * x + 23)(1.0).block_until_ready()
    counts.append(len(taken) - before)
heap._LONG = 1e9
before = len(taken)
jax.jit(lambda x: 3 * x + 23)(1.0).block_until_ready()
print(*counts, len(taken) - before)
"""


def test_pieces_are_taken_after_a_long_compilation() -> None:
    first, second, short = run(COMPILE, "reused")
    assert first == second > 0 == short


def test_nothing_is_taken_where_memory_is_not_reused() -> None:
    assert run(COMPILE, "default") == [0, 0, 0]


def test_nothing_is_set_beside_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/nvidiactl"])
    assert not reuse_host_memory()
