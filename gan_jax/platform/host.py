"""Set up the host process before JAX starts: thread pool and flags. See also heap.py.

Threads: simulated devices (XLA_FLAGS=--xla_force_host_platform_device_count=8) run collectives on
XLA's thread pool, which has one thread per core. With fewer cores than devices, some block the pool
while they wait for others that have no thread, and after 40 seconds XLA aborts the process.

Platforms: if libtpu is installed, JAX tries to start a TPU, and asks the network for one. If the
machine has none, this is turned off; libtpu is then only used to compile for TPUs (--mode=plan).

Convolutions: since jaxlib 0.10 XLA:CPU uses YNNPACK for them. With few channels it is slower than
Eigen, which was used before (64 channels: 97 rather than 171 GFLOP/s), and two to four times slower
for weight gradients (`benchmarks/conv_forms.py`). A flag selects Eigen again.
"""

from __future__ import annotations

import glob
import importlib.metadata
import importlib.util
import os
import re

from gan_jax.core.errors import UserError

_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")
_SIMULATED = "xla_force_host_platform_device_count"
_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
_YNNPACK_IN = ("0.10.", "0.11.", "0.12.")  # versions of jaxlib known to have that flag
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # any valid one: the topology is given at compilation
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def has_accelerator() -> bool:
    """Return whether the system has the device file of a GPU or a TPU."""
    return any(glob.glob(pattern) for pattern in _ACCELERATORS)


def without_missing_tpu() -> None:
    """Keep JAX from looking for a TPU if libtpu is installed without one; call before JAX starts.

    A JAX_PLATFORMS set by the user is left unchanged.
    """
    if importlib.util.find_spec("libtpu") and not has_accelerator():
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


def compile_only(simulated: int) -> None:
    """Set up JAX to compile for other machines only; call before JAX is imported.

    Args:
      simulated: number of simulated CPU devices.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = re.sub(rf"--{_SIMULATED}=\d+", "", os.environ.get("XLA_FLAGS", ""))
    os.environ["XLA_FLAGS"] = f"{flags} --{_SIMULATED}={simulated}".strip()
    enough_threads()
    # By default libtpu asks the cloud which machine this is, writes logs to /tmp, and refuses to
    # start while another process compiles.
    for name, value in _NO_TPU_HERE.items():
        os.environ.setdefault(name, value)
    # Silence XLA's CUDA warnings about memory and slow compilation; errors are raised anyway.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def enough_threads() -> None:
    """Give XLA's thread pool two threads per simulated device; call before JAX starts.

    XLA takes the size of the pool from the environment variable NPROC. A value set by the user is
    left unchanged.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    simulated = re.search(rf"{_SIMULATED}=(\d+)", flags)
    if simulated and 2 * int(simulated[1]) > (os.cpu_count() or 1):
        os.environ.setdefault("NPROC", str(2 * int(simulated[1])))


def deterministic_gpus() -> None:
    """Make XLA's results on a GPU bitwise equal in every process; call before JAX starts.

    By default two processes may differ in the last bits: each selects kernels by timing them
    (autotuning), and the order of some sums depends on thread scheduling.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()


def check_deterministic() -> None:
    """Raise UserError if XLA_FLAGS lacks the flag that `train.deterministic` needs on a GPU."""
    if _DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        raise UserError(
            f"train.deterministic=True needs {_DETERMINISTIC} in XLA_FLAGS before JAX starts:"
            " main.py sets it, and a notebook must, by os.environ in its first cell"
        )


def convolve_by_eigen() -> bool:
    """Keep XLA:CPU from using YNNPACK for convolutions; call before JAX compiles anything.

    Returns:
      Whether the flag was set. It is not set if the user has set it, if there is an accelerator, or
      if jaxlib is not known to have it: XLA ends the process at an unknown flag.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib").startswith(_YNNPACK_IN)
    if _YNNPACK in flags or not known or has_accelerator():
        return False
    os.environ["XLA_FLAGS"] = f"{flags} --{_YNNPACK}=-individual_convolution".strip()
    return True
