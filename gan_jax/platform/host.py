"""The host process, before JAX starts in it: threads for many devices, and flags. See also heap.py.

Threads: simulated devices (XLA_FLAGS=--xla_force_host_platform_device_count=8) meet in collectives
on XLA's thread pool, which has a thread a core: with fewer cores than devices some wait in the pool
for others that wait for the pool, and after 40 seconds XLA aborts the process.

Platforms: where libtpu is installed JAX tries to start a TPU, and asks the network for one; it is
told not to where none is in the machine. libtpu serves to compile for TPUs there (--mode=plan).

Convolutions: XLA:CPU hands them to YNNPACK since jaxlib 0.10, which is slower than Eigen, that it
had before, where channels are few (64 channels: 97 of 171 GFLOP/s), and by a factor of two to four
in the gradient of the weights (`benchmarks/conv_forms.py`). A flag brings Eigen back.
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
_YNNPACK_IN = ("0.10.", "0.11.", "0.12.")  # versions of jaxlib that are known to have that flag
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
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
    # XLA for CUDA would warn of what does not fit, or takes long; what it refuses is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def enough_threads() -> None:
    """Give XLA's thread pool two threads a simulated device; call before JAX starts.

    XLA takes the size of the pool from the environment variable NPROC, which is left as it is where
    its user has set it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    simulated = re.search(rf"{_SIMULATED}=(\d+)", flags)
    if simulated and 2 * int(simulated[1]) > (os.cpu_count() or 1):
        os.environ.setdefault("NPROC", str(2 * int(simulated[1])))


def deterministic_gpus() -> None:
    """Make XLA compute the same bits in every process on a GPU; call before JAX starts.

    By default two processes may differ in the last bits: each chooses kernels by timing them
    (autotuning), and some sums are taken in the order in which threads arrive.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()


def check_deterministic() -> None:
    """Raise UserError where a GPU would not compute what `train.deterministic` promises."""
    if _DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        raise UserError(
            f"train.deterministic=True needs {_DETERMINISTIC} in XLA_FLAGS before JAX starts:"
            " main.py sets it, and a notebook must, by os.environ in its first cell"
        )


def convolve_by_eigen() -> bool:
    """Keep XLA:CPU from computing convolutions by YNNPACK; call before JAX compiles anything.

    Returns:
      Whether the flag is set now. It is left alone where the user has set it, beside an
      accelerator, and with a jaxlib that is not known to have it: XLA ends the process at a flag
      that it does not know.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib").startswith(_YNNPACK_IN)
    if _YNNPACK in flags or not known or has_accelerator():
        return False
    os.environ["XLA_FLAGS"] = f"{flags} --{_YNNPACK}=-individual_convolution".strip()
    return True
