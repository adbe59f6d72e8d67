"""The host process, before JAX starts in it: memory that is reused, and threads for many devices.

Memory: XLA:CPU allocates its temporaries afresh at each call; glibc maps and unmaps them, and the
page faults cost as much as the arithmetic of a small network. Settings of glibc's own allocator,
made from within the process, stop that; they do what the environment variable
GLIBC_TUNABLES=glibc.malloc.mmap_threshold=...:trim_threshold=...:top_pad=... does, which only a
parent process can set. `benchmarks/host_memory.py` measures the difference. Compiling leaves free
pieces between what lives on, which count as used and are too small for a step's temporaries: they
are given back once, before the program runs (SNGAN-32 reached 1.5 to 2.8 GB within four steps, and
stays at 1.4).

Threads: simulated devices (XLA_FLAGS=--xla_force_host_platform_device_count=8) meet in collectives
on XLA's thread pool, which has a thread a core: with fewer cores than devices some wait in the pool
for others that wait for the pool, and after 40 seconds XLA aborts the process.

Platforms: where libtpu is installed JAX tries to start a TPU, and asks the network for one; it is
told not to where none is in the machine. libtpu serves to compile for TPUs there (--mode=plan).

Convolutions: XLA:CPU of jaxlib 0.10 hands them to YNNPACK, which is slower than Eigen, that it had
before, where channels are few (64 channels: 97 of 171 GFLOP/s), and by a factor of two to four in
the gradient of the weights (`benchmarks/conv_forms.py`). A flag brings Eigen back.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import importlib.metadata
import importlib.util
import os
import re
import sys
from typing import Any

# <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")
# Of jax.monitoring: after each compilation, also where the program comes from the cache.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.2  # seconds; a program that took less to compile leaves little
_SIMULATED = "xla_force_host_platform_device_count"
_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # any legal one: the topology is named at compilation
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def has_accelerator() -> bool:
    """Return whether the system shows the device file of a GPU or a TPU."""
    return any(glob.glob(pattern) for pattern in _ACCELERATORS)


def without_missing_tpu() -> None:
    """Keep JAX from looking for a TPU where libtpu is installed without one; call before JAX.

    A JAX_PLATFORMS that the user has set is left as it is.
    """
    if importlib.util.find_spec("libtpu") and not has_accelerator():
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


def compile_only(simulated: int) -> None:
    """Make JAX a compiler for machines that are not here; call before JAX is imported.

    Args:
      simulated: how many CPU devices JAX shall show.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = re.sub(rf"--{_SIMULATED}=\d+", "", os.environ.get("XLA_FLAGS", ""))
    os.environ["XLA_FLAGS"] = f"{flags} --{_SIMULATED}={simulated}".strip()
    enough_threads()
    # libtpu would ask the cloud which machine this is, write logs to /tmp, and refuse to start
    # where another process compiles.
    for name, value in _NO_TPU_HERE.items():
        os.environ.setdefault(name, value)


def reuse_host_memory() -> bool:
    """Let glibc reuse what it has, if this process will compute on the CPU; call before JAX starts.

    The process then keeps its peak memory until it ends.

    Returns:
      Whether the settings were made: never on other systems, nor beside an accelerator, where
      temporaries live on the device.
    """
    only_cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    if not only_cpu and has_accelerator():
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


@functools.cache
def give_back_after_compiling() -> None:
    """Let glibc return what it holds unused when a program has been compiled; call before that.

    Takes some 20 ms for a program that takes seconds. Nothing happens with another C library.
    """
    try:
        trim = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return
    import jax  # at the top it would start before the environment is set

    def after(event: str, seconds: float, **_: Any) -> None:
        if event == _COMPILED and seconds > _LONG:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(after)


def enough_threads() -> None:
    """Give XLA's thread pool two threads a simulated device; call before JAX starts.

    XLA takes the size of the pool from the environment variable NPROC, which is left as it is where
    its user has set it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    simulated = re.search(rf"{_SIMULATED}=(\d+)", flags)
    if simulated and 2 * int(simulated[1]) > (os.cpu_count() or 1):
        os.environ.setdefault("NPROC", str(2 * int(simulated[1])))


def convolve_by_eigen() -> bool:
    """Keep XLA:CPU from computing convolutions by YNNPACK; call before JAX compiles anything.

    Returns:
      Whether the flag is set now. It is left alone where the user has set it, beside an
      accelerator, and with another jaxlib than 0.10: XLA ends the process at a flag that it does
      not know.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib").startswith("0.10.")
    if _YNNPACK in flags or not known or has_accelerator():
        return False
    os.environ["XLA_FLAGS"] = f"{flags} --{_YNNPACK}=-individual_convolution".strip()
    return True
