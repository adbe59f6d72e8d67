"""Tune glibc's heap for computing on the CPU: reuse memory, and avoid fragmentation.

Reuse: XLA:CPU allocates its temporaries anew at each call; glibc maps and unmaps them, and the
page faults cost as much as the arithmetic of a small network. Settings of glibc's allocator, made
from within the process, prevent that. They are equivalent to the environment variable
GLIBC_TUNABLES=glibc.malloc.mmap_threshold=...:trim_threshold=...:top_pad=..., which only a parent
process can set.

Fragmentation: compiling frees hundreds of MiB in tens of thousands of fragments between live
blocks. They count as used memory, and every later allocation walks free lists of them, under the
single lock of the heap. A step of BigGAN-32 spent 9 % of its time there (`_int_malloc`), and the
longer its program took to compile, the slower the step was, so that a program from the compilation
cache seemed faster. So after a compilation the pages of the fragments are returned to the system,
and the fragments are allocated and never freed, which empties the free lists. Small blocks would
then be cut from the space of the last step's temporaries, and the next step's would not fit any
more. So a reserve before the end of the heap is left free for small blocks: glibc uses the smallest
free block that fits.

`benchmarks/host_memory.py` measures all of it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

from gan_jax.platform.host import has_accelerator

# Settings for mallopt: (parameter number in <malloc.h>, value).
SETTINGS = {
    # All threads share one heap, so that one can reuse what another frees. Compiling takes a third
    # longer, since its threads wait for each other; but without this setting most steps take 2 to
    # 14 % longer (one took 5 % less). glibc reads it once: it cannot be undone after compiling.
    "arena_max": (-8, 1),
    "mmap_max": (-4, 0),  # large blocks also come from the heap, not from mmap
    "trim_threshold": (-1, 2**31 - 1),
    "top_pad": (-2, 2**28),  # the heap grows by 256 MiB
}
# Event of jax.monitoring after each compilation, also if the program comes from the cache.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.2  # seconds; shorter compilations leave few fragments
# Sizes of the fragments to claim [bytes]: larger ones are useful to a program, and glibc finds
# smaller ones without walking a list.
_LARGEST, _SMALLEST = 2**20, 2**10
_RESERVE = 2**27  # bytes; unused pages of it take no memory
_STEP = 0.93  # ratio of successive sizes claimed; the rest of a fragment is claimed by a later one

_reused = False  # whether the settings were made in this process: glibc cannot be asked


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library, or None if it is not glibc 2.33 (2021) or later."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallinfo2.restype = _Mallinfo2
        libc.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
        libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_size_t
        libc.free.argtypes, libc.free.restype = [ctypes.c_size_t], None
        libc.sbrk.argtypes, libc.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_size_t
    except (OSError, AttributeError):  # another C library, such as musl
        return None
    return libc


def reuse_host_memory() -> bool:
    """Let glibc reuse memory, if this process will compute on the CPU; call before JAX starts.

    The process then keeps its peak memory until it ends.

    Returns:
      Whether the settings were made: not on other systems, nor with an accelerator, where
      temporaries live on the device.
    """
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    libc = _glibc()
    if libc is None or (not only_cpu and has_accelerator()):
        return False
    global _reused
    made = [libc.mallopt(number, value) for number, value in SETTINGS.values()]
    _reused = all(made)
    return _reused


@functools.cache
def claim_fragments_after_compiling() -> None:
    """Claim heap fragments after each compilation from now on, if memory is reused here.

    Takes 0.1 to 0.2 s for a program that took half a minute to compile.
    """
    if not _reused:
        return
    import jax  # not at the top: the environment must be set before JAX is imported

    def after(event: str, seconds: float, **_: Any) -> None:
        if event == _COMPILED and seconds > _LONG:
            claim_fragments()

    jax.monitoring.register_event_duration_secs_listener(after)


def claim_fragments() -> int:
    """Return free pages to the system, claim fragments, and make a reserve for small blocks.

    Other threads may allocate at the same time; that does no harm.

    Returns:
      Total size of the fragments claimed [bytes].
    """
    libc = _glibc()
    if libc is None:
        return 0
    libc.malloc_trim(0)
    # Beyond this address lies the free end of the heap, which is contiguous and stays free.
    end = libc.sbrk(0) - libc.mallinfo2().keepcost
    taken, size = 0, _LARGEST
    while size >= _SMALLEST:
        block = libc.malloc(size)
        if 0 < block < end:
            taken += size
            continue
        libc.free(block)
        size = int(size * _STEP)
    reserve, guard = libc.malloc(_RESERVE), 0
    while guard < reserve:  # a block after the reserve keeps it from merging with the free end
        guard = libc.malloc(_SMALLEST) or reserve  # out of memory: no such block
    libc.free(reserve)
    return taken
