"""Compilers for machines that are not available here: devices, options and errors.

libtpu compiles for TPUs, JAX's plugin for CUDA for GPUs, XLA:CPU for simulated devices.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import topologies

from gan_jax.core.errors import UserError, out_of_memory
from gan_jax.planning.topology import Topology
from gan_jax.platform.gpus import TARGETS

# Options that a compiler does not know are dropped.
_OPTIONS = {
    # The lowest effort, "O0", as the number that all versions accept. For the step of DCGAN-64
    # (v5e:2x2, 64 images per chip, two busy cores) libtpu takes 331 s at its default effort and 14
    # to 35 s at O0 (0.0.52; 0.0.42.1 is similar). FLOPs agree to 0.03 % and both have 23
    # all-reduces, none of them asynchronous; bytes accessed are 2.84 GB at the default effort and
    # 2.11 GB at O0, temporaries 104 MB and 204 MB.
    "tpu": {"optimization_level": 9},
    # Autotuning needs a GPU: matrix products are left to cuBLAS, and the algorithms of cuBLAS and
    # cuDNN are not chosen. Since the kernels never run, LLVM and ptxas need not optimise them: 17
    # instead of 51 s for the step of DCGAN-64 (jax 0.12.0), with the same kernels and memory.
    "cuda": {
        "xla_gpu_autotune_level": 0,
        "xla_gpu_enable_triton_gemm": False,
        "xla_backend_optimization_level": 0,
    },
}
_COMPILERS = {"tpu": "libtpu", "cuda": "XLA for CUDA", "cpu": "XLA for CPUs"}


def devices_of(topology: Topology) -> list[Any]:
    """Return a machine's devices; programs can be compiled for them, but they hold no arrays.

    For CPUs, and if nothing is compiled, these are the simulated devices of this process.

    Raises:
      UserError: if the compiler is missing or rejects the shape, or there are too few CPU devices.
    """
    if topology.platform == "tpu":
        return _tpus(topology)
    if topology.platform == "cuda" and not topology.lowered_only:
        return _gpus(topology)
    return simulated_devices(topology)


def simulated_devices(topology: Topology) -> list[Any]:
    """Return one CPU device per chip of the machine; UserError if there are too few."""
    devices = jax.devices("cpu")
    if len(devices) < topology.chips:
        raise UserError(
            f"--topology={topology.name}: JAX shows {len(devices)} CPU devices in this process; set"
            f" XLA_FLAGS=--xla_force_host_platform_device_count={topology.chips} before it starts"
        )
    return devices[: topology.chips]


def compile_for(topology: Topology, lowered: jax.stages.Lowered) -> jax.stages.Compiled | None:
    """Compile for a machine; None if the program does not fit into its memory.

    Raises:
      UserError: if the compiler rejects the program for another reason.
    """
    options = dict(_OPTIONS.get(topology.platform, {}))
    while True:
        try:
            return lowered.compile(options or None)
        except jax.errors.JaxRuntimeError as error:
            unknown = re.search("No such compile option: '(.*?)'", str(error))
            if unknown and options.pop(unknown[1], None) is not None:
                continue
            if out_of_memory(error):
                return None
            raise _refusal(topology, error) from None


def _tpus(topology: Topology) -> list[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology={topology.name} is compiled by libtpu, which is not installed: pip install"
            " -e '.[tpu]', best in an environment of its own"
        )
    # The name does not give the chips per host: assume 2x2, as in slices of several hosts.
    bounds = (*(min(2, n) for n in topology.shape[:2]), 1)
    options = {"chips_per_host_bounds": bounds}
    if topology.name.startswith("v4"):
        options["chip_config_name"] = "megacore"  # a chip's two cores as one device, as in JAX
    return _describe(
        topology, lambda: topologies.get_topology_desc(topology.name, platform="tpu", **options)
    )


def _gpus(topology: Topology) -> list[Any]:
    target = TARGETS[topology.name.partition(":")[0]].proto()
    shape = f"1x1x{topology.chips}"  # machines joined by NVLink, hosts, GPUs of a host
    try:
        return _describe(
            topology,
            lambda: topologies.get_topology_desc(
                platform="cuda", target_config=target, topology=shape
            ),
        )
    except NotImplementedError:  # no plugin has registered itself
        raise UserError(
            f"--topology={topology.name} is compiled by JAX's plugin for CUDA, which is not"
            " installed: pip install -e '.[cuda13]', no GPU is needed"
        ) from None


def _describe(topology: Topology, describe: Callable[[], Any]) -> list[Any]:
    # JAX's compilation cache, if the user has enabled it, cannot read back such programs.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        return describe().devices
    except NotImplementedError:
        raise
    except RuntimeError as error:  # includes JaxRuntimeError
        raise _refusal(topology, error) from None


def _refusal(topology: Topology, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    compiler = _COMPILERS[topology.platform]
    return UserError(f"--topology={topology.name}: {compiler} refuses it ({reason})")
