"""What one chip's share of a compiled step costs, in XLA's own counts, and in time on a chip."""

from __future__ import annotations

import dataclasses

import jax

from gan_jax.hlo import Collective, collectives
from gan_jax.topology import Chip

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Cost:
    """One chip's share of a train step, as compiled.

    Attributes:
      images: that one step takes from the data, over all chips.
      flops, bytes_accessed: XLA's counts.
      arguments, outputs, temporaries, program: memory [bytes]; outputs without those that take the
        place of donated arguments.
      collectives: communications with other chips.
    """

    images: int
    flops: float
    bytes_accessed: float
    arguments: int
    outputs: int
    temporaries: int
    program: int
    collectives: tuple[Collective, ...]

    @property
    def memory(self) -> int:
        """All of the above memory [bytes]."""
        return self.arguments + self.outputs + self.temporaries + self.program

    def compute_seconds(self, chip: Chip) -> float:
        """Return the roofline time: the longer of arithmetic and memory traffic."""
        return max(self.flops / chip.flops, self.bytes_accessed / chip.memory_bandwidth)

    def collective_seconds(self, chip: Chip) -> float:
        """Return the time that the ring algorithm sends for, without latency, on all links."""
        return sum(c.sent_bytes for c in self.collectives) / chip.interconnect

    def step_seconds(self, chip: Chip) -> float:
        """Return the sum of both: nothing is overlapped."""
        return self.compute_seconds(chip) + self.collective_seconds(chip)


def read_cost(compiled: jax.stages.Compiled, images: int, devices: int) -> Cost:
    """Return what XLA says of a compiled step of `images` images on `devices` chips."""
    counts, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return Cost(
        images=images,
        flops=counts["flops"],
        bytes_accessed=counts["bytes accessed"],
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        program=memory.generated_code_size_in_bytes,
        collectives=tuple(collectives(compiled.as_text(), devices)),
    )
