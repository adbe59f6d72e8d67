"""The host process, before JAX starts in it: memory that is reused, and threads for many devices.

Memory: XLA:CPU allocates its temporaries afresh at each call; glibc maps and unmaps them, and the
page faults cost as much as the arithmetic of a small network. Settings of glibc's own allocator,
made from within the process, stop that; they do what the environment variable
GLIBC_TUNABLES=glibc.malloc.mmap_threshold=...:trim_threshold=...:top_pad=... does, which only a
parent process can set. `benchmarks/host_memory.py` measures the difference.

Threads: simulated devices (XLA_FLAGS=--xla_force_host_platform_device_count=8) meet in collectives
on XLA's thread pool, which has a thread a core: with fewer cores than devices some wait in the pool
for others that wait for the pool, and after 40 seconds XLA aborts the process.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import sys

# <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")


def reuse_host_memory() -> bool:
    """Let glibc reuse what it has, if this process will compute on the CPU; call before JAX starts.

    The process then keeps its peak memory until it ends.

    Returns:
      Whether the settings were made: never on other systems, nor beside an accelerator, where
      temporaries live on the device.
    """
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    if not only_cpu and any(glob.glob(pattern) for pattern in _ACCELERATORS):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    settings = (
        (_M_ARENA_MAX, 1),  # threads share one heap: what one frees another can use
        (_M_MMAP_MAX, 0),  # large blocks come from that heap too, instead of from mmap
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 2**28),  # the heap grows by 256 MiB
    )
    return sum(mallopt(name, value) for name, value in settings) == len(settings)


def enough_threads() -> None:
    """Give XLA's thread pool two threads a simulated device; call before JAX starts.

    XLA takes the size of the pool from the environment variable NPROC, which is left as it is where
    its user has set it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    simulated = re.search(r"xla_force_host_platform_device_count=(\d+)", flags)
    if simulated and 2 * int(simulated[1]) > (os.cpu_count() or 1):
        os.environ.setdefault("NPROC", str(2 * int(simulated[1])))
