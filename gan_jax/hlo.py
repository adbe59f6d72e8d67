"""Collectives in the text of a compiled program: how many of each kind, and how many bytes.

XLA's cost analysis counts arithmetic and memory but no communication, so the optimised HLO is read.
Shapes are logical: padding to a chip's tiles is not counted. An operation inside a loop is counted
once, as XLA's own analysis does.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = ("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute")

# "%name = SHAPE kind(%operand, ...), ..."; of an asynchronous pair only the start is counted.
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*?)\)(.*)$")
_NAME = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\]")
_LISTS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=")
_MESH = re.compile(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}")
_AXIS = re.compile(r"'([^']+)'(?::\(\d+\)(\d+))?")  # 'a', or 'a':(2)4 for a part of 4 of it


@dataclasses.dataclass(frozen=True)
class Collective:
    """One communication between chips.

    Attributes:
      kind: one of KINDS.
      operand_bytes: what one chip puts in.
      group: how many chips take part; each chip is in one group.
    """

    kind: str
    operand_bytes: float
    group: int

    @property
    def sent_bytes(self) -> float:
        """Bytes that each chip sends, by the ring algorithm (2(n-1)/n of an all-reduce)."""
        n, size = self.group, self.operand_bytes
        return {
            "all-reduce": 2 * (n - 1) / n * size,
            "reduce-scatter": (n - 1) / n * size,
            "all-gather": (n - 1) * size,  # the operand is one chip's part of the result
            "all-to-all": (n - 1) / n * size,
            "collective-permute": size,
        }[self.kind]


def collectives(text: str, devices: int) -> list[Collective]:
    """Return the collectives of an optimised module, in order.

    Args:
      text: as of `jax.stages.Compiled.as_text()`.
      devices: that the module is compiled for, the group where it names none.
    """
    return list(_collectives(text, devices))


def _collectives(text: str, devices: int) -> Iterator[Collective]:
    shapes: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):  # a computation: its names are its own
            shapes = {}
        if (found := _INSTRUCTION.match(line)) is None:
            continue
        name, shape, operation, operands, attributes = found.groups()
        shapes[name] = shape
        kind = operation.removesuffix("-start")
        if kind in KINDS:
            size = sum(shape_bytes(shapes[operand]) for operand in _NAME.findall(operands))
            yield Collective(kind, size, _group(attributes, devices))


def shape_bytes(shape: str) -> float:
    """Return the bytes of an HLO shape: "f32[4,8]{1,0}", or a tuple of such."""
    return sum(
        _bits(kind, width) / 8 * math.prod(int(n) for n in sizes.split(",") if n)
        for kind, width, sizes in _ARRAY.findall(shape)
    )


def _bits(kind: str, width: str) -> int:
    """Return the bits of a number: of f32, bf16, s8, c64 ... what is in the name; 8 of pred."""
    return int(width) if width else {"pred": 8}.get(kind, 0)  # a token has no bytes


def _group(attributes: str, devices: int) -> int:
    """Return how many devices a group has; HLO writes it as lists, as an iota, or by mesh axes."""
    if found := _LISTS.search(attributes):
        return len(found[1].split(","))
    if found := _IOTA.search(attributes):
        return int(found[2])
    if found := _MESH.search(attributes):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(part or sizes[axis]) for axis, part in _AXIS.findall(found[2]))
    return devices
