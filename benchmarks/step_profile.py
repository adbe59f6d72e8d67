"""Profile of a training step on CPU by kind of operation, for the problems of problems.py.

    python benchmarks/step_profile.py --only=ResNet-18-32 [--steps=3]

Traces steps with `jax.profiler` after two warm-up steps, and sums the time of XLA's operations over
all threads. A fusion is named after its last operation in the source, its `op_name` in the compiled
program without the path. "fusion: dot_general" are matrix products, "convolution" direct
convolutions; fusions named `jit(...)` are calls, whose parts are listed separately.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from benchmarks.problems import PROBLEMS
from benchmarks.worker import Ours
from gan_jax.platform.heap import reuse_host_memory

_OP_NAME = re.compile(r'op_name="([^"]*)"')
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*?\s([a-z][\w-]*)\(", re.M)


def kinds(program: str) -> dict[str, str]:
    """Return name -> kind of the instructions of a compiled program."""
    found = {}
    for line in program.splitlines():
        match = _INSTRUCTION.match(line)
        if match:
            name, opcode = match.groups()
            source = _OP_NAME.search(line)
            last = source.group(1).rpartition("/")[2] if source else ""
            found[name] = f"fusion: {last}" if opcode in ("fusion", "call") else opcode
    return found


def traced(folder: str) -> collections.Counter[str]:
    """Return seconds by the name of an instruction."""
    seconds: collections.Counter[str] = collections.Counter()
    for path in Path(folder).rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    stats = dict(event.stats)
                    if "hlo_op" in stats:
                        seconds[str(stats["hlo_op"])] += event.duration_ns * 1e-9
    return seconds


def main() -> None:
    """Print a table a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--steps", type=int, default=3)
    flags = parser.parse_args()
    reuse_host_memory()
    for name, problem in PROBLEMS.items():
        if flags.only not in name:
            continue
        ours = Ours(problem)
        given = (ours.task.phase(0), ours.state, ours.batch, ours.keys["train"])
        program = ours.compiled.lower(*given).compile().as_text()
        del given  # the state is donated to the first step
        for _ in range(2):
            ours.step()
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                began = time.perf_counter()
                for _ in range(flags.steps):
                    ours.step()
                passed = (time.perf_counter() - began) / flags.steps
            kind = kinds(program)
            by_kind: collections.Counter[str] = collections.Counter()
            for op, seconds in traced(folder).items():
                by_kind[kind.get(op, f"? {op}")] += seconds / flags.steps
        print(f"{name}: {1e3 * passed:.1f} ms a step")
        for what, seconds in by_kind.most_common(25):
            print(f"  {1e3 * seconds:8.1f} ms  {seconds / passed:6.1%}  {what}")


if __name__ == "__main__":
    main()
