"""Cost of one chip's share of a compiled step, and a lower bound on its time."""

from __future__ import annotations

import dataclasses

import jax

from gan_jax.planning.hlo import Collective, collectives, traffic
from gan_jax.platform.chips import Chip


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of one chip's share of a compiled train step.

    Attributes:
      images: images that one step takes from the data, over all chips.
      flops, bytes_accessed: XLA's counts; for a GPU, see `read_gpu_cost`.
      arguments, outputs, temporaries, program: memory [bytes]; outputs exclude those that reuse
        donated arguments.
      collectives: communication with other chips.
      precision: "float32" or "bfloat16"; determines the peak FLOP/s.
      kernels, copied: for a GPU, see `gan_jax.planning.hlo.Traffic`.
    """

    images: int
    flops: float
    bytes_accessed: float
    arguments: int
    outputs: int
    temporaries: int
    program: int
    collectives: tuple[Collective, ...]
    precision: str = "bfloat16"
    kernels: int = 0
    copied: float = 0.0

    @property
    def memory(self) -> int:
        """Total memory [bytes]."""
        return self.arguments + self.outputs + self.temporaries + self.program

    def compute_seconds(self, chip: Chip) -> float:
        """Return the roofline time [s]: the larger of arithmetic and memory traffic."""
        arithmetic = self.flops / chip.peak(self.precision)
        return max(arithmetic, self.bytes_accessed / chip.memory_bandwidth)

    def collective_seconds(self, chip: Chip) -> float:
        """Return the time [s] for sending by ring algorithms over all links, without latency."""
        return sum(c.sent_bytes for c in self.collectives) / chip.interconnect

    def step_seconds(self, chip: Chip) -> float:
        """Return compute plus collective time [s], without overlap."""
        return self.compute_seconds(chip) + self.collective_seconds(chip)


def read_cost(
    compiled: jax.stages.Compiled, images: int, devices: int, precision: str = "bfloat16"
) -> Cost:
    """Return the cost of a compiled step of `images` images on `devices` chips, from XLA."""
    counts = compiled.cost_analysis()
    return Cost(
        images=images,
        flops=counts["flops"],
        bytes_accessed=counts["bytes accessed"],
        **_memory(compiled),
        collectives=tuple(collectives(compiled.as_text(), devices)),
        precision=precision,
    )


def read_gpu_cost(
    compiled: jax.stages.Compiled, images: int, devices: int, precision: str, flops: float
) -> Cost:
    """Return the cost of a step compiled for GPUs, for which XLA reports memory only.

    Args:
      compiled: the step. Bytes accessed are those that its kernels read and write.
      images: images per step.
      devices: number of GPUs.
      precision: "float32" or "bfloat16".
      flops: FLOPs of one device, counted before compilation.
    """
    text = compiled.as_text()
    moved = traffic(text)
    return Cost(
        images=images,
        flops=flops,
        bytes_accessed=moved.bytes,
        **_memory(compiled),
        collectives=tuple(collectives(text, devices)),
        precision=precision,
        kernels=moved.kernels,
        copied=moved.copied,
    )


def _memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    memory = compiled.memory_analysis()
    return dict(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        program=memory.generated_code_size_in_bytes,
    )
