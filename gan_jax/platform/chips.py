"""Vendor specifications of accelerators. Imports no JAX.

TPU figures are from cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} (read 2026-11-23). The interconnect
is given there for both directions together; half of it is what a chip can send with all its links
busy. The v4 page does not give it: 6 links of 50 GB/s each way, from Jouppi et al. 2023
(arXiv:2304.01433). For v6e older pages give 3,200 or 3,584 Gbit/s; the 800 GB/s of the newer one
are used.

GPUs are the SXM versions in NVIDIA's data sheets of A100 80GB, H100 and H200: peaks without
sparsity, NVLink in one direction. Memory is as reported by the driver
(`gan_jax/platform/gpus.py`).
"""

from __future__ import annotations

import dataclasses

from gan_jax.platform.gpus import TARGETS

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
      memory: capacity [GiB].
      flops: peak bfloat16 arithmetic [1/s].
      memory_bandwidth: bandwidth of the chip's main memory [bytes/s].
      interconnect: rate at which one chip can send to its neighbours [bytes/s].
      largest: maximum number of chips in a slice, or connected by NVLink.
      axes: number of axes of the torus, as in the name of a slice; 1 for GPUs.
      flops_float32: peak of float32 matrix products at JAX's default precision: TF32 on a GPU; None
        on a TPU, where they run in bfloat16 passes and so at that peak.
      share: fraction of the memory that JAX takes by default.
    """

    memory: float
    flops: float
    memory_bandwidth: float
    interconnect: float
    largest: int
    axes: int
    flops_float32: float | None = None
    share: float = 1.0

    @property
    def limit(self) -> float:
        """Memory available to a program [bytes]."""
        return self.share * self.memory * GIB

    def peak(self, precision: str) -> float:
        """Return the peak arithmetic [1/s] of a step in "float32" or "bfloat16"."""
        return self.flops if precision == "bfloat16" else self.flops_float32 or self.flops


def _gpu(name: str, flops: float, interconnect: float) -> Chip:
    """Return a GPU; TF32 has half the peak of bfloat16 on all of them."""
    target = TARGETS[name]
    return Chip(
        target.memory / GIB,
        flops,
        target.bandwidth,
        interconnect,
        largest=8,
        axes=1,
        flops_float32=flops / 2,
        share=0.75,  # XLA_PYTHON_CLIENT_MEM_FRACTION
    )


CHIPS = {
    "v4": Chip(32, 275e12, 1200e9, 300e9, 4096, 3),
    "v5e": Chip(16, 197e12, 819e9, 200e9, 256, 2),
    "v5p": Chip(95, 459e12, 2765e9, 600e9, 6144, 3),
    "v6e": Chip(32, 918e12, 1640e9, 400e9, 256, 2),
    "a100": _gpu("a100", 312e12, 300e9),
    "h100": _gpu("h100", 989.4e12, 450e9),
    "h200": _gpu("h200", 989.4e12, 450e9),
}


def chip_of(device_kind: str) -> Chip | None:
    """Return the chip for JAX's name of a device (`jax.Device.device_kind`); None if unknown.

    "TPU v5 lite" is v5e. A GPU that is not listed is treated as the slowest listed one.
    """
    if device_kind.startswith("TPU"):
        name = device_kind.removeprefix("TPU ").replace(" lite", "e")
        return CHIPS.get({"v5": "v5p"}.get(name, name))
    return CHIPS[next((name for name in TARGETS if name in device_kind.lower()), "a100")]
