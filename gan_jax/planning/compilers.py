"""The compilers of machines that are not here: their devices, their options, their refusals.

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

# What a compiler does not know by name is left out.
_OPTIONS = {
    # The least effort, "O0", by the number that all versions take. At its default effort libtpu
    # needs 331 s for the step of DCGAN-64 (v5e:2x2, 64 images a chip, two busy cores), and so 14 to
    # 35 (0.0.52; 0.0.42.1 is alike). FLOPs agree to 0.03 % and both have 23 all-reduces, none of
    # them asynchronous; bytes accessed are 2.84 GB and 2.11, temporaries 104 MB and 204.
    "tpu": {"optimization_level": 9},
    # Autotuning needs a GPU: products of matrices are left to cuBLAS, and its kernels and those of
    # cuDNN are not chosen. As none runs, LLVM and ptxas need not optimise them, which takes 17 s in
    # place of 51 for the step of DCGAN-64 (jax 0.12.0): the same kernels and memory.
    "cuda": {
        "xla_gpu_autotune_level": 0,
        "xla_gpu_enable_triton_gemm": False,
        "xla_backend_optimization_level": 0,
    },
}
_COMPILERS = {"tpu": "libtpu", "cuda": "XLA for CUDA", "cpu": "XLA for CPUs"}


def devices_of(topology: Topology) -> list[Any]:
    """Return a machine's devices, which programs can be compiled for and no array can lie on.

    For CPUs, and where nothing is compiled, they are the simulated ones of this process.

    Raises:
      UserError: the compiler is not installed or refuses the shape; JAX shows too few CPU devices.
    """
    if topology.platform == "tpu":
        return _tpus(topology)
    if topology.platform == "cuda" and not topology.lowered_only:
        return _gpus(topology)
    return simulated_devices(topology)


def simulated_devices(topology: Topology) -> list[Any]:
    """Return as many CPU devices as the machine has chips; raise UserError if there are fewer."""
    devices = jax.devices("cpu")
    if len(devices) < topology.chips:
        raise UserError(
            f"--topology={topology.name}: JAX shows {len(devices)} CPU devices in this process; set"
            f" XLA_FLAGS=--xla_force_host_platform_device_count={topology.chips} before it starts"
        )
    return devices[: topology.chips]


def compile_for(topology: Topology, lowered: jax.stages.Lowered) -> jax.stages.Compiled | None:
    """Compile for a machine; None: the program does not fit into its memory.

    Raises:
      UserError: the compiler refuses the program for another reason.
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
    # What a host holds is not in the name: as many as 2x2, as in slices of more than one host.
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
    # JAX's cache of compilations, where its user has one, cannot read back what such a compiler
    # made.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        return describe().devices
    except NotImplementedError:
        raise
    except RuntimeError as error:  # JaxRuntimeError among them
        raise _refusal(topology, error) from None


def _refusal(topology: Topology, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    compiler = _COMPILERS[topology.platform]
    return UserError(f"--topology={topology.name}: {compiler} refuses it ({reason})")
