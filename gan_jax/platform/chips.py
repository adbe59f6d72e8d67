"""Accelerators: what the vendor says of the chips. Imports no JAX.

Figures are those of cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} (read 2026-11-23). A chip's
interconnect is given there for both directions together; half of it is what a chip can send, with
all its links busy. v4's page does not give it: 6 links of 50 GB/s each way, as of Jouppi et al.
2023 (arXiv:2304.01433). For v6e older pages say 3,200 or 3,584 Gbit/s, the newer one 800 GB/s,
which is used.

GPUs are the SXM forms of NVIDIA's data sheets of A100 80GB, H100 and H200: peaks without sparsity,
NVLink one way. Memory is what the driver reports (`gan_jax/platform/gpus.py`).
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
      memory_bandwidth: of the chip's main memory [bytes/s].
      interconnect: what one chip can send to its neighbours [bytes/s].
      largest: the most chips of one slice, or that NVLink joins.
      axes: of the torus, which the name of a slice has; 1 of GPUs.
      flops_float32: peak of float32 matrix products at JAX's default precision: TF32 on a GPU; None
        on a TPU, where they run in bfloat16 passes and so at that peak.
      share: of the memory, that JAX takes unless it is told otherwise.
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
        """What a program may take of the memory [bytes]."""
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
    """Return the chip that JAX calls by that name (`jax.Device.device_kind`); None if not known.

    "TPU v5 lite" is v5e. A GPU that is not listed is taken for the slowest that is.
    """
    if device_kind.startswith("TPU"):
        name = device_kind.removeprefix("TPU ").replace(" lite", "e")
        return CHIPS.get({"v5": "v5p"}.get(name, name))
    return CHIPS[next((name for name in TARGETS if name in device_kind.lower()), "a100")]
