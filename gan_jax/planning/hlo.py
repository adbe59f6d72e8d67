"""What is read from the text of a compiled program: collectives, and what a GPU launches and moves.

XLA's cost analysis counts no communication, and says nothing at all of a program for a GPU that is
not here, so the optimised HLO is read. Shapes are logical: padding to a chip's tiles is not
counted. The body of a loop counts as often as it runs, where the text says how often (it does where
`lax.scan` made the loop), and once where not; of a conditional all branches are counted.
"""

from __future__ import annotations

import collections as containers
import dataclasses
import math
import re

KINDS = ("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute")

# "%name = SHAPE kind(%operand, ...), ..."; of an asynchronous pair only the start is counted.
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


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What a GPU runs, one kernel after another.

    Attributes:
      kernels: instructions that are launched: fusions, calls of cuDNN, cuBLAS and others (one each,
        though a library may launch several), copies, collectives.
      bytes: of all their operands and results, wherever they lie; of what is sliced, the slice.
      copied: the part of `bytes` that belongs to kernels which only put numbers elsewhere: copies,
        transpositions, padding, concatenation and slicing, with casts on the way.
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
    """Return the collectives of an optimised module, in order; one in a loop as often as it runs.

    Args:
      text: as of `jax.stages.Compiled.as_text()`.
      devices: that the module is compiled for, the group where it names none.
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
    """Return what a module launches and moves that was compiled for a GPU; `text` as above."""
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
_BESIDE = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element", "convert")


def _only_moves(body: list[_Instruction]) -> bool:
    operations = {i.operation for i in body}
    return operations.issubset((*_MOVES, *_BESIDE)) and not operations.isdisjoint(_MOVES)


def _read(i: _Instruction, body: list[_Instruction], shapes: dict[str, str]) -> float:
    """Return the bytes that a kernel reads: of an operand of which it takes slices, those."""
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
    """Return the bytes that a kernel writes: of an update the new ones, no library's workspace."""
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


# The last result of a call of cuDNN or cuBLAS: memory to work in.
_WORKSPACE = re.compile(r", (?:/\*.*?\*/)?[su]8\[\d+\](?:\{0[^}]*\})?\)$")


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """Return the instructions of every computation, and the name of that which is run."""
    module: dict[str, list[_Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):  # its names are its own
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
    """Return how often each computation runs that is reached from the entry.

    Args:
      within_fusions: go into what is computed in one kernel too.
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
    """Return how often a loop runs: as XLA for CUDA notes, or as it counts from 0 up to a limit."""
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
    """Return the computations that an instruction runs; not the condition of a loop."""
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
