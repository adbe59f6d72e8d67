"""The heap of a process that computes on the CPU: memory that is reused, and stays in one piece.

Reuse: XLA:CPU allocates its temporaries afresh at each call; glibc maps and unmaps them, and the
page faults cost as much as the arithmetic of a small network. Settings of glibc's own allocator,
made from within the process, stop that; they do what the environment variable
GLIBC_TUNABLES=glibc.malloc.mmap_threshold=...:trim_threshold=...:top_pad=... does, which only a
parent process can set.

Pieces: compiling frees hundreds of MiB in ten thousands of pieces between what lives on. They
count as used memory, and every later allocation walks lists of them, under the one lock of the
heap: a step of BigGAN-32 took 9 % of its time there (`_int_malloc`), and the slower the longer its
program took to compile, so that one from the compilation cache seemed faster. After a compilation
their pages are given back to the system, and the pieces are taken and kept, which leaves the
lists empty. Small blocks would now be cut from where the last step's temporaries were, and the
next step's would not fit any more: a yard before the end of the heap is for them, since glibc takes
the smallest free block that does.

`benchmarks/host_memory.py` measures all of it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

from gan_jax.platform.host import has_accelerator

# What is set with mallopt: (the number of <malloc.h>, the value).
SETTINGS = {
    # Threads share one heap: what one frees another can use. Compiling takes a third longer, since
    # its threads wait for one another; without it most steps take 2 to 14 % longer, one less by 5.
    # glibc reads it once: there is no way back after compiling.
    "arena_max": (-8, 1),
    "mmap_max": (-4, 0),  # large blocks come from that heap too, instead of from mmap
    "trim_threshold": (-1, 2**31 - 1),
    "top_pad": (-2, 2**28),  # the heap grows by 256 MiB
}
# Of jax.monitoring: after each compilation, also where the program comes from the cache.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.2  # seconds; a program that took less to compile leaves little
# Bytes: larger pieces are of use to a program, smaller ones glibc finds without a walk.
_LARGEST, _SMALLEST = 2**20, 2**10
_YARD = 2**27  # bytes; what is never used of it takes no memory
_STEP = 0.93  # from one size that is taken to the next; what a piece has beyond it is the next's

_reused = False  # whether this process has the settings: glibc does not tell


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
    """Return the C library, or None where it is not glibc of 2.33 (2021) or later."""
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
    """Let glibc reuse what it has, if this process will compute on the CPU; call before JAX starts.

    The process then keeps its peak memory until it ends.

    Returns:
      Whether the settings were made: never on other systems, nor beside an accelerator, where
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
def keep_heap_whole() -> None:
    """Take the pieces that compilations leave, from now on, if memory is reused in this process.

    Takes 0.1 to 0.2 s for a program that took half a minute to compile.
    """
    if not _reused:
        return
    import jax  # at the top it would start before the environment is set

    def after(event: str, seconds: float, **_: Any) -> None:
        if event == _COMPILED and seconds > _LONG:
            take_pieces()

    jax.monitoring.register_event_duration_secs_listener(after)


def take_pieces() -> int:
    """Give pages of free memory back, take the pieces, and make a yard; return the pieces' bytes.

    Other threads may allocate meanwhile: a block belongs to who got it.
    """
    libc = _glibc()
    if libc is None:
        return 0
    libc.malloc_trim(0)
    # What lies beyond this address is the heap's end, which is in one piece and stays free.
    end = libc.sbrk(0) - libc.mallinfo2().keepcost
    taken, size = 0, _LARGEST
    while size >= _SMALLEST:
        block = libc.malloc(size)
        if 0 < block < end:
            taken += size
            continue
        libc.free(block)
        size = int(size * _STEP)
    yard, wall = libc.malloc(_YARD), 0
    while wall < yard:  # lest the yard becomes one with the end
        wall = libc.malloc(_SMALLEST) or yard  # out of memory: no wall
    libc.free(yard)
    return taken
