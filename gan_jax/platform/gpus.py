"""GPU descriptions for XLA's compiler, so that it can compile for a GPU that is not present.

Figures are as reported by NVIDIA's driver for each chip and recorded in OpenXLA's descriptions
(github.com/openxla/xla, xla/backends/gpu/target_config/specs: h100_sxm, h200 and a100_sxm_80, read
2026-11-27). Their rates of scalar and matrix units are omitted: the compiler does not need them,
and the roofline of `gan_jax/planning/plan.py` uses the vendor's peaks
(`gan_jax/planning/topology.py`).
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Target:
    """One GPU, as the compiler sees it.

    Attributes:
      name: as reported by the driver.
      capability: CUDA's compute capability, (major, minor).
      accelerated: whether to use features of this architecture only ("sm_90a").
      cores: number of streaming multiprocessors.
      fpus: float32 units per multiprocessor.
      clock: [GHz].
      memory, bandwidth: of the device [bytes, bytes/s].
      l2: second-level cache [bytes].
      shared: shared memory per multiprocessor [bytes]; a block may request all but 1 KiB.
    """

    name: str
    capability: tuple[int, int]
    accelerated: bool
    cores: int
    fpus: int
    clock: float
    memory: int
    bandwidth: int
    l2: int
    shared: int

    def proto(self) -> str:
        """Return XLA's `GpuTargetConfigProto` as text."""
        major, minor = self.capability
        extension = "ACCELERATED_FEATURES" if self.accelerated else "NONE"
        device = {
            **_LIMITS,
            "core_count": self.cores,
            "fpus_per_core": self.fpus,
            "clock_rate_ghz": self.clock,
            "device_memory_size": self.memory,
            "memory_bandwidth": self.bandwidth,
            "l2_cache_size": self.l2,
            "shared_memory_per_core": self.shared,
            "shared_memory_per_block_optin": self.shared - 1024,
        }
        fields = " ".join(f"{name}: {value}" for name, value in device.items())
        arch = f"major: {major} minor: {minor} feature_extension: {extension}"
        return (
            f"gpu_device_info {{ {fields} cuda_compute_capability {{ {arch} }} }}"
            f' platform_name: "CUDA" dnn_version_info {{ {_CUDNN} }}'
            f' device_description_str: "{self.name}"'
        )


# The same for compute capabilities 8.0 and 9.0.
_LIMITS = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "threads_per_core_limit": 2048,
    "shared_memory_per_block": 48 * 1024,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "thread_dim_limit_x": 1024,
    "thread_dim_limit_y": 1024,
    "thread_dim_limit_z": 64,
}
_CUDNN = "major: 9 minor: 10"  # jax[cuda12] and jax[cuda13] install this version or a newer one

TARGETS = {
    "h100": Target(
        "NVIDIA H100 80GB HBM3",
        (9, 0),
        True,
        cores=132,
        fpus=128,
        clock=1.98,
        memory=84_942_979_072,
        bandwidth=3_352_320_000_000,
        l2=50 * 2**20,
        shared=228 * 1024,
    ),
    "h200": Target(
        "NVIDIA H200 141GB HBM3e",
        (9, 0),
        True,
        cores=132,
        fpus=128,
        clock=1.98,
        memory=151_397_597_184,
        bandwidth=4_800_000_000_000,
        l2=50 * 2**20,
        shared=228 * 1024,
    ),
    "a100": Target(
        "NVIDIA A100-SXM4-80GB",
        (8, 0),
        False,
        cores=108,
        fpus=64,
        clock=1.41,
        memory=85_100_068_864,
        bandwidth=2_039_040_000_000,
        l2=40 * 2**20,
        shared=164 * 1024,
    ),
}
