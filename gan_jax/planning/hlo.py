"""Parsing of optimised HLO: collectives, and the kernels and memory traffic of a GPU program.

XLA's cost analysis does not count communication, and is missing for GPUs that are not available
here. Shapes are logical, without padding to a chip's tiles. A loop body counts once per iteration
if the text gives their number (as it does for `lax.scan`), else once; all branches of a conditional
count.
"""

from __future__ import annotations

import collections as containers
import dataclasses
import math
import re

KINDS = ("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute")

# "%name = SHAPE kind(%operand, ...), ..."; only the start of an asynchronous pair is counted.
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*?)\)(.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%([\w.-]+) ")
_CALLED = re.compile(r"\b(calls|to_apply|body|\w+_computation)=%([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{(.*?)\}")
_CONDITION = re.compile(r"\bcondition=%([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_NAME = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\]")
_LISTS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=")
_MESH = re.compile(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}")
_AXIS = re.compile(r"'([^']+)'(?::\(\d+\)(\d+))?")  # 'a', or 'a':(2)4 for a sub-axis of size 4


@dataclasses.dataclass(frozen=True)
class Collective:
    """One communication between chips.

    Attributes:
      kind: one of KINDS.
      operand_bytes: size of one chip's operand.
      group: number of participating chips; each chip is in one group.
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


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Kernels and memory traffic of a GPU program.

    Attributes:
      kernels: number of launched instructions: fusions, library calls such as cuDNN and cuBLAS (one
        each, though a library may launch several kernels), copies, collectives.
      bytes: size of all their operands and results, in any memory; of sliced arrays, the slice.
      copied: the part of `bytes` of kernels that only move data: copies, transpositions, padding,
        concatenation and slicing, including casts.
    """

    kernels: int
    bytes: float
    copied: float


@dataclasses.dataclass(frozen=True)
class _Instruction:
    root: bool
    name: str
    shape: str
    operation: str
    inside: str  # what is between the parentheses
    attributes: str

    @property
    def operands(self) -> list[str]:
        return _NAME.findall(self.inside)


def collectives(text: str, devices: int) -> list[Collective]:
    """Return the collectives of an optimised module, in order, repeated for loop iterations.

    Args:
      text: the module, from `jax.stages.Compiled.as_text()`.
      devices: number of devices of the module: the group size of collectives that name no group.
    """
    module, entry = _parse(text)
    runs = _runs(module, entry, within_fusions=True)
    found = []
    for name, computation in module.items():
        shapes = {i.name: i.shape for i in computation}
        for i in computation:
            kind = i.operation.removesuffix("-start")
            if kind in KINDS:
                size = sum(shape_bytes(shapes[operand]) for operand in i.operands)
                one = Collective(kind, size, _group(i.attributes, devices))
                found += [one] * runs.get(name, 1)
    return found


def traffic(text: str) -> Traffic:
    """Return the kernels and memory traffic of a module compiled for a GPU.

    Args:
      text: the module, from `jax.stages.Compiled.as_text()`.
    """
    module, entry = _parse(text)
    kernels, total, copied = 0, 0.0, 0.0
    for name, times in _runs(module, entry, within_fusions=False).items():
        shapes = {i.name: i.shape for i in module[name]}
        for i in module[name]:
            if i.operation in _FREE or i.operation in _CONTROL or i.operation.endswith("-update"):
                continue
            started, done = i.operation.endswith("-start"), i.operation.endswith("-done")
            fused = _called(i) if "fusion" in i.operation else []
            body = module[fused[0]] if fused else [i]
            read = 0.0 if done else _read(i, body, shapes)
            size = read + (0.0 if started else _written(i, body, shapes))
            kernels += 0 if done else times
            total += times * size
            if _only_moves(body):
                copied += times * size
    return Traffic(kernels, total, copied)


_CONTROL = ("while", "call", "conditional")
_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "domain"),
    *("partition-id", "replica-id", "opt-barrier", "add-dependency"),
)
_SLICES = ("slice", "dynamic-slice", "gather")
_UPDATE = "dynamic-update-slice"
_MOVES = (
    *("copy", "copy-start", "copy-done", "transpose", "reshape", "reverse", "pad", "concatenate"),
    *("slice", "dynamic-slice", _UPDATE),
)
_NEUTRAL = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element", "convert")


def _only_moves(body: list[_Instruction]) -> bool:
    operations = {i.operation for i in body}
    return operations.issubset((*_MOVES, *_NEUTRAL)) and not operations.isdisjoint(_MOVES)


def _read(i: _Instruction, body: list[_Instruction], shapes: dict[str, str]) -> float:
    """Return the bytes that a kernel reads; if it uses slices of an operand, only those."""
    if i.operation in _SLICES:
        return shape_bytes(i.shape)
    if i.operation == _UPDATE:
        return shape_bytes(shapes[i.operands[1]])
    if body == [i]:
        return sum(shape_bytes(shapes[operand]) for operand in i.operands)
    users = containers.defaultdict(list)
    for inner in body:
        for place, operand in enumerate(inner.operands):
            users[operand].append((place, inner))

    def read(name: str, whole: float) -> float:
        size = 0.0
        for place, user in users[name]:
            if user.operation in ("bitcast", "reshape"):
                size += read(user.name, whole)
            elif user.operation in _SLICES and place == 0:
                size += shape_bytes(user.shape)
            elif user.operation != _UPDATE or place:  # the array that is updated is not read
                return whole
        return min(size, whole)

    parameters = [inner for inner in body if inner.operation == "parameter"]
    return sum(read(inner.name, shape_bytes(inner.shape)) for inner in parameters)


def _written(i: _Instruction, body: list[_Instruction], shapes: dict[str, str]) -> float:
    """Return the bytes that a kernel writes; of an update the new part, without workspaces."""
    if i.operation == "custom-call":
        return shape_bytes(_WORKSPACE.sub(")", i.shape))
    if body == [i]:
        return shape_bytes(shapes[i.operands[1]] if i.operation == _UPDATE else i.shape)
    inner = {x.name: x for x in body}

    def written(x: _Instruction) -> float:
        if x.operation == "tuple":
            return sum(written(inner[operand]) for operand in x.operands)
        if x.operation == "bitcast" and x.operands[0] in inner:
            return written(inner[x.operands[0]])
        if x.operation == _UPDATE:
            return shape_bytes(inner[x.operands[1]].shape)
        return shape_bytes(x.shape)

    return written(next(x for x in body if x.root))


# The workspace, which is the last result of a cuDNN or cuBLAS call.
_WORKSPACE = re.compile(r", (?:/\*.*?\*/)?[su]8\[\d+\](?:\{0[^}]*\})?\)$")


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """Return the instructions of every computation, and the name of the entry computation."""
    module: dict[str, list[_Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):  # instruction names are local to it
            name = found[2]
            module[name] = []
            entry = name if found[1] else entry
        elif found := _INSTRUCTION.match(line):
            root, *parts = found.groups()
            module[name].append(_Instruction(bool(root), *parts))
    return module, entry


def _runs(
    module: dict[str, list[_Instruction]], entry: str, *, within_fusions: bool
) -> dict[str, int]:
    """Return how often each computation reachable from the entry runs.

    Args:
      module: instructions by computation.
      entry: name of the entry computation.
      within_fusions: whether to descend into fusions, which are one kernel.
    """
    runs: dict[str, int] = containers.Counter()

    def visit(name: str, times: int) -> None:
        runs[name] += times
        for i in module.get(name, ()):
            if i.operation in _CONTROL or within_fusions:
                trips = _trips(i, module) if i.operation == "while" else 1
                for called in _called(i):
                    visit(called, times * trips)

    visit(entry, 1)
    return runs


def _trips(loop: _Instruction, module: dict[str, list[_Instruction]]) -> int:
    """Return a loop's iterations: XLA's annotation (CUDA), or the limit it counts to from 0."""
    if found := _TRIPS.search(loop.attributes):
        return int(found[1])
    condition = module.get(_CONDITION.search(loop.attributes)[1], [])
    constants = (i for i in condition if i.operation == "constant" and i.inside.isdigit())
    limits = {i.name: int(i.inside) for i in constants}
    for i in condition:
        if i.root and i.operation == "compare" and "direction=LT" in i.attributes:
            return limits.get(i.operands[1], 1)
    return 1


def _called(i: _Instruction) -> list[str]:
    """Return the computations that an instruction calls, without a loop's condition."""
    branches = _BRANCHES.search(i.attributes)
    return [name for _, name in _CALLED.findall(i.attributes)] + _NAME.findall(
        branches[1] if branches else ""
    )


def shape_bytes(shape: str) -> float:
    """Return the bytes of an HLO shape: "f32[4,8]{1,0}", or a tuple of such."""
    return sum(
        _bits(kind, width) / 8 * math.prod(int(n) for n in sizes.split(",") if n)
        for kind, width, sizes in _ARRAY.findall(shape)
    )


def _bits(kind: str, width: str) -> int:
    """Return the bits per element: f32, bf16, s8, c64 ... as in the name; 8 for pred."""
    return int(width) if width else {"pred": 8}.get(kind, 0)  # a token has no bytes


def _group(attributes: str, devices: int) -> int:
    """Return the group size; HLO writes groups as lists, as an iota, or by mesh axes."""
    if found := _LISTS.search(attributes):
        return len(found[1].split(","))
    if found := _IOTA.search(attributes):
        return int(found[2])
    if found := _MESH.search(attributes):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(part or sizes[axis]) for axis, part in _AXIS.findall(found[2]))
    return devices
