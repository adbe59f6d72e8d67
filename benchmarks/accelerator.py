"""GPU benchmark: correctness, speed against PyTorch, and the effect of settings.

    python benchmarks/accelerator.py [--only=PART] [--budget=SECONDS] [--output=DIR] [--smoke]

Needs a GPU with `jax[cuda13]` (or cuda12), and the extra `bench` for part "fast" (PyTorch); missing
packages are reported in a row. Six parts, in order of importance (`parts/`):

1. device: the device and its peak speeds: matrix products, a large copy.
2. right: steps on GPU and CPU agree, checkpoints move between both, runs are reproducible.
3. fast: a training step against PyTorch, eager and compiled.
4. knobs: steps per call, layouts chosen by XLA, determinism, overhead of the loop over the step.
5. minute: results of 15 s of training (60 s with --only): FID, precision, recall, samples.
6. features: Inception's features, PRDC and FID of 10,000 x 2,048.

Each part has a time limit, scaled by --budget; unused time goes to the next part, so that all parts
end within the budget. A part is a process with its own children and is killed when its time is
over; a part that fails or is late yields a row with the reason, and the next part starts. Every row
is written immediately to DIR/results.md and DIR/results.json; images are DIR/minute_*.png (five
files in all).

Without a GPU the same runs on the CPU with tiny networks, as a rehearsal of the script without
meaningful timings. --smoke leaves out repetitions (used by a test).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.parts.context import ROOT, Context, shortened
from benchmarks.parts.results import Results, said
from benchmarks.processes import reason
from gan_jax.platform.host import has_accelerator

BUDGET = 430.0  # seconds of all parts
MODULE = "benchmarks.parts.{}"
SHOWN = 9_000  # characters of the final tables: a caller may see only the end of the output


@dataclasses.dataclass(frozen=True)
class Part:
    """Time limits of a part [s]: its share of BUDGET, and the one with --only."""

    share: float
    whole: float


PARTS = {
    "device": Part(20, 40),
    "right": Part(60, 120),
    "fast": Part(200, 460),
    "knobs": Part(60, 120),
    "minute": Part(70, 300),
    "features": Part(20, 60),
}
PACKAGES = (
    *("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "flax", "optax"),
    *("orbax-checkpoint", "numpy", "torch", "triton", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
)
GRACE = 2.0  # seconds between terminating and killing a process


def describe(device: str, arguments: list[str]) -> dict[str, str]:
    """Return the header of the results."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    chip = "no nvidia-smi"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        chip = "; ".join(done.stdout.split("\n")).strip("; ")
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    command = shlex.join(["python", "benchmarks/accelerator.py", *arguments])
    header = {
        "command": f"`{command}`",
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "device": f"{device}; name, memory, driver: {chip}",
        "host": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "versions": f"Python {platform.python_version()}, {', '.join(versions)}",
    }
    if device == "cpu":
        header["note"] = "a rehearsal on the CPU, with tiny networks: no number says anything"
    return header


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


class Run:
    """A running part, in its own process group."""

    def __init__(self, context: Context, log: Path) -> None:
        fields = dataclasses.asdict(context)
        given = {k: str(v) if isinstance(v, Path) else v for k, v in fields.items()}
        given["module"] = MODULE.format(context.part)
        command = [sys.executable, str(Path(__file__).resolve()), f"--part={json.dumps(given)}"]
        self.log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def rows(self, end: float) -> Any:
        """Yield rows until the part has ended; raise TimeoutError at `end`, by time.monotonic."""
        while True:
            try:
                line = self.lines.get(timeout=max(end - time.monotonic(), 0.0))
            except queue.Empty:
                raise TimeoutError from None
            if line is None:
                return
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and row.keys() == {"part", "table", "cells"}:
                    yield row

    def end(self) -> None:
        """End the process and all of its children."""
        for number, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(wait)


def run_part(context: Context, results: Results) -> None:
    """Run a part until it ends, and record its rows."""
    began, why = time.monotonic(), ""
    run = Run(context, context.work / f"{context.part}.log")
    try:
        for row in run.rows(context.end + GRACE / 2):
            results.add(row)
            cells = ", ".join(f"{k} {said(v)}" for k, v in row["cells"].items() if v != "")
            print(f"[{context.part}] {row['table']}: {cells}", flush=True)
        if run.process.wait(GRACE):
            why = reason(run.log) or f"exit code {run.process.returncode}"
    except TimeoutError:
        why = f"ended after its {time.monotonic() - began:.0f} s"
    except subprocess.TimeoutExpired:
        why = "did not end"
    finally:
        run.end()
    seconds = time.monotonic() - began
    cells = {"part": context.part, "seconds": seconds, "of": context.seconds}
    results.add(
        {"part": context.part, "table": "Parts", "cells": {**cells, "note": shortened(why)}}
    )
    print(f"[{context.part}] {seconds:.0f} s{': ' if why else ''}{why}", flush=True)


def run_all(flags: argparse.Namespace, results: Results, work: Path) -> None:
    """Run the parts, each within its share of the time plus what earlier parts left over."""
    chosen = {flags.only: PARTS[flags.only]} if flags.only else PARTS
    seconds = {name: part.whole if flags.only else part.share for name, part in chosen.items()}
    scale = flags.budget / sum(seconds.values()) if flags.budget else 1.0
    end = time.monotonic()
    for name, planned in seconds.items():
        end += scale * planned
        context = Context(
            part=name,
            device=flags.device,
            smoke=flags.smoke,
            whole=bool(flags.only),
            end=end - GRACE,
            seconds=scale * planned,
            work=work,
            output=flags.output,
        )
        run_part(context, results)


def closing(results: Results) -> str:
    """Return the most important tables, at most SHOWN characters."""
    rows = [row for row in results.rows if not row["table"].endswith("every form")]
    text = Results(results.folder, results.header, rows).markdown()
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}\n... the rest is in {results.folder / 'results.md'}\n"


def be_part(module: str, given: Mapping[str, Any]) -> None:
    """Run as the process of a part, whose file is `module`."""
    places = {name: Path(given[name]) for name in ("work", "output")}
    context = Context(**{**given, **places})
    importlib.import_module(module).run(context)


def main() -> None:
    """Run the parts and print their tables; with --part run as one of their processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="this part, at its full size")
    parser.add_argument("--budget", type=float, help=f"seconds in all; {BUDGET:g}, or the part's")
    parser.add_argument("--output", type=Path, help="folder of the results; runs/accelerator")
    parser.add_argument("--smoke", action="store_true", help="a small rehearsal on the CPU")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="the GPU where there is one")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.part:
        given = json.loads(flags.part)
        be_part(given.pop("module"), given)
        return
    if flags.budget is not None and not flags.budget > 0:
        parser.error(f"--budget={flags.budget:g}: seconds, above 0")
    flags.device = flags.device or ("gpu" if has_accelerator() and not flags.smoke else "cpu")
    flags.output = (flags.output or Path("runs/accelerator")).absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    results = Results(flags.output, describe(flags.device, sys.argv[1:]))
    results.write()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        try:
            run_all(flags, results, Path(work))
        finally:
            print(f"\n{closing(results)}", flush=True)


if __name__ == "__main__":
    main()
