"""What one chip's share of a compiled step costs, and how long a chip takes for it at best."""

from __future__ import annotations

import dataclasses

import jax

from gan_jax.planning.hlo import Collective, collectives, traffic
from gan_jax.platform.chips import Chip


@dataclasses.dataclass(frozen=True)
class Cost:
    """One chip's share of a train step, as compiled.

    Attributes:
      images: that one step takes from the data, over all chips.
      flops, bytes_accessed: XLA's counts; for a GPU, see `read_gpu_cost`.
      arguments, outputs, temporaries, program: memory [bytes]; outputs without those that take the
        place of donated arguments.
      collectives: communications with other chips.
      precision: "float32" or "bfloat16", which the peak depends on.
      kernels, copied: as of `gan_jax.planning.hlo.Traffic`, for a GPU.
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
        """All of the above memory [bytes]."""
        return self.arguments + self.outputs + self.temporaries + self.program

    def compute_seconds(self, chip: Chip) -> float:
        """Return the roofline time: the longer of arithmetic and memory traffic."""
        arithmetic = self.flops / chip.peak(self.precision)
        return max(arithmetic, self.bytes_accessed / chip.memory_bandwidth)

    def collective_seconds(self, chip: Chip) -> float:
        """Return the time that the ring algorithm sends for, without latency, on all links."""
        return sum(c.sent_bytes for c in self.collectives) / chip.interconnect

    def step_seconds(self, chip: Chip) -> float:
        """Return the sum of both: nothing is overlapped."""
        return self.compute_seconds(chip) + self.collective_seconds(chip)


def read_cost(
    compiled: jax.stages.Compiled, images: int, devices: int, precision: str = "bfloat16"
) -> Cost:
    """Return what XLA says of a compiled step of `images` images on `devices` chips."""
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
    """Return the same of a step that was compiled for GPUs, of which XLA only says the memory.

    Args:
      flops: of one device, counted before compilation. Bytes accessed are what kernels read and
        write, by the compiled program.
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
