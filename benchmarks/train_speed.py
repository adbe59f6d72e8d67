"""Speed and memory of a training step: ours against a PyTorch twin that does the same work.

    python benchmarks/train_speed.py [--only=SUBSTRING] [--rounds=5] [--markdown] [--device=cpu|gpu]

Needs the extra `bench`; runs on the GPU where there is one (what a GPU is worth is measured by
`accelerator.py`, at batches that fill it). For each row of `problems.py`:

1. The twin is compared with ours (`equality.py`): losses, gradients, updates and samples, with full
   float32 products. If they differ the benchmark stops.
2. The fastest settings for PyTorch are chosen: contiguous or channels_last; glibc's default memory
   settings or those that main.py makes for us; OpenMP threads that wait actively or passively. Each
   pair is compared and the faster kept as "eager"; "compile" is the same with torch.compile. Adam
   is the fused one. On a GPU both multiply float32 in TF32, which is JAX's default.
3. Ours, eager and compile are timed in turns, in blocks of steps, `rounds` times each. A block has
   at least three steps and lasts at least a second; its first step, which refills the caches, is
   not counted. The median of all counted steps is shown.
4. Restorers also transform a photo of `Problem.photo` pixels, from bytes to floats in [-1, 1]: ours
   by `Run.transform`, whole and in the tiles that it takes by default, and the twin whole, in
   `torch.inference_mode`, in its fastest settings for that, chosen as in 2 and not compiled. They
   are timed in turns as in 3; megapixels are those of the result.
5. Start time and peak memory are measured in new processes.

Each implementation has its own process. In one process they would share an allocator with our
settings, threads of one would spin (OpenMP's for some milliseconds after each loop) while the other
starts, and their memory could not be separated. Between blocks a process blocks in a read; the CPU
time that it still uses is measured, and reported if above 2 %.

Results are meaningful on an otherwise idle machine only: next to other jobs OpenMP's threads spin
waiting for one another, and PyTorch takes twenty times as long for a small network.

Images per second are counted as in the training log: a step draws disc_updates batches. "start" is
from the start of the process to the end of its first step, with imports and compilation; for ours
with an empty and with a filled jax_compilation_cache_dir. Batches are the same random images at
every step, already on the device; drawing latents, noise and dropout is part of the step.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.problems import PROBLEMS, Problem
from benchmarks.processes import Failure, Process
from benchmarks.worker import DEVICES, GEMM, serve
from gan_jax.platform.host import has_accelerator

# Settings to choose from for PyTorch; the first of each is the default.
CHOICES = (("contiguous", "channels_last"), ("default", "reused"), ("active", "passive"))
COLUMNS = {
    "images": "images/s: ours | eager | compile",
    "ratio": "ours/eager | ours/compile",
    "start": "start [s]: ours cold | ours warm | eager | compile",
    "peak": "peak [MiB]: ours | eager",
    "samples": "samples/s: ours | eager",
    "form": "eager is",
    "photos": "photo: ours [MP/s] | in tiles [MP/s] | eager [MP/s] | ours/eager | eager is",
}
RESOLVED = "config.json"  # of the problem, in the folder that its processes share
BUSY = 0.02  # share of a block that an idle process may compute
BUSY_MACHINE = 0.5  # load average before the first row


def launch(name: str, form: str, folder: Path, device: str) -> Process:
    """Start a process with one implementation of one problem; see worker.py."""
    environment = {
        **os.environ,
        **platforms(device),
        # Checks the same program whose cold start is measured later.
        "JAX_COMPILATION_CACHE_DIR": str(folder / ("check" if form == "check" else "jax")),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
    if "passive" in form:
        environment["OMP_WAIT_POLICY"] = "passive"
    log = folder / f"{form.replace(' ', '_')}.log"
    command = [sys.executable, __file__, f"--form={form}", f"--only={name}", f"--folder={folder}"]
    command += [f"--device={device}"]
    return Process(form, command, log, environment)


def platforms(device: str) -> dict[str, str]:
    """Return the environment of a process on "cpu" or "gpu" that shares the device."""
    if device == "cpu":
        return {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return {"JAX_PLATFORMS": "cuda,cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def in_turns(turns: list[tuple[Process, str]], rounds: int, least: int = 3) -> list[float]:
    """Return the median seconds of what each process is asked for, timed in alternating blocks."""
    times: list[list[float]] = [[] for _ in turns]
    idle, passed = [0.0] * len(turns), 0.0
    for turn in range(rounds):
        for i, (process, what) in enumerate(turns):
            answer = process.ask(what, least=least, seconds=1.0)
            times[i] += answer["times"][1:]
            passed += sum(answer["times"])
            if turn:
                idle[i] += answer["idle"]
    for (process, _), used in zip(turns, idle, strict=True):
        if used > BUSY * passed:
            print(f"note: {process.form} took {used:.2f} s of processor time while it waited")
    return [statistics.median(column) for column in times]


def choose_eager(name: str, folder: Path, device: str, what: str = "steps") -> Process:
    """Return the eager form of the twin that does `what` fastest, choice by choice."""
    best = launch(name, " ".join(["eager", *(default for default, _ in CHOICES)]), folder, device)
    for default, other in CHOICES:
        rival = launch(name, best.form.replace(default, other), folder, device)
        fastest = [min(p.ask(what, least=2, seconds=0.5)["times"]) for p in (best, rival)]
        best, worse = (rival, best) if fastest[1] < fastest[0] else (best, rival)
        worse.close()
    return best


def start_compiled(name: str, form: str, folder: Path, device: str) -> tuple[Process | None, str]:
    """Return the process of torch.compile, or None and the reason."""
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        return None, "no C++ compiler"
    try:
        return launch(name, form.replace("eager", "compile"), folder, device), ""
    except Failure as failure:
        return None, f"fails: {failure}"


def fresh(name: str, form: str, folder: Path, device: str) -> tuple[float, float]:
    """Return (start [s], peak [MiB]) of a new process that takes four steps."""
    process = launch(name, form, folder, device)
    process.ask("steps", least=3, seconds=0.0)
    peak = process.ask("peak")["mib"]
    process.close()
    return process.start, peak


def measure(name: str, problem: Problem, rounds: int, folder: Path, device: str) -> dict[str, str]:
    """Return the cells of one row."""
    (folder / RESOLVED).write_text(problem.resolve().resolved)
    check = launch(name, "check", folder, device)
    check.close()
    found = ", ".join(f"{kind} {error:.0e}" for kind, error in check.first.items())
    print(f"{name}: twin equals ours ({found})", flush=True)

    eager = choose_eager(name, folder, device)
    ours = launch(name, "ours", folder, device)
    compiled, why = start_compiled(name, eager.form, folder, device)
    processes = [p for p in (ours, eager, compiled) if p is not None]
    seconds = in_turns([(process, "steps") for process in processes], rounds)
    config = problem.config()
    size = config.train.batch_size
    images = [size * config.task.get("disc_updates", 1) / s for s in seconds]
    row = {
        "images": " | ".join([f"{x:.1f}" for x in images] + [why] * (compiled is None)),
        "ratio": " | ".join([f"{images[0] / x:.2f}" for x in images[1:]]),
        "form": ", ".join(eager.form.split()[1:]),
        "samples": "",
        "photos": "",
    }
    if any(problem.photo):
        row["photos"] = restore_photos(name, problem, ours, rounds, folder, device)
    elif config.task.name != "classifier":
        sampled = in_turns([(ours, "samples"), (eager, "samples")], rounds)
        row["samples"] = " | ".join(f"{size / s:.0f}" for s in sampled)
    if config.task.name == "gan" and config.model.gen.name == "dcgan":
        print_share(problem, processes, seconds)
    for process in processes:
        process.close()

    warm, ours_peak = fresh(name, "ours", folder, device)
    start, eager_peak = fresh(name, eager.form, folder, device)
    starts = [ours.start, warm, start, *([compiled.start] if compiled else [])]
    row["start"] = " | ".join(f"{s:.1f}" for s in starts)
    row["peak"] = f"{ours_peak:.0f} | {eager_peak:.0f}"
    return row


def restore_photos(
    name: str, problem: Problem, ours: Process, rounds: int, folder: Path, device: str
) -> str:
    """Return the cells of a photo."""
    eager = choose_eager(name, folder, device, "photos")
    turns = [(ours, "photos"), (ours, "tiles"), (eager, "photos")]
    megapixels = 1e-6 * problem.scale**2 * math.prod(problem.photo)
    speeds = [megapixels / seconds for seconds in in_turns(turns, rounds)]
    eager.close()
    cells = [*(f"{x:.3f}" for x in speeds), f"{speeds[0] / speeds[2]:.2f}"]
    return " | ".join([*cells, ", ".join(eager.form.split()[1:])])


def print_share(problem: Problem, processes: list[Process], seconds: list[float]) -> None:
    """Print FLOP/s of the step and of one large matrix product, for both frameworks."""
    from benchmarks.flops import dcgan_step  # which imports JAX

    gflop = dcgan_step(problem) / 1e9
    gemms = {}
    for process in processes[:2]:
        times = process.ask("gemm", least=4, seconds=1.0)["times"]
        gemms[process.form.split()[0]] = 2e-9 * GEMM**3 / min(times)
    best = max(gemms.values())
    print(f"{gflop:.0f} GFLOP a step; {GEMM} x {GEMM} matrices: ", end="")
    print(", ".join(f"{side} {speed:.0f} GFLOP/s" for side, speed in gemms.items()))
    for process, each in zip(processes, seconds, strict=True):
        share = gflop / each / best
        print(f"{process.form.split()[0]}: {gflop / each:.0f} GFLOP/s, {share:.0%} of the machine")


@dataclasses.dataclass
class Table:
    """The rows so far, printed for a terminal or as Markdown."""

    markdown: bool
    rows: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    def print(self) -> None:
        """Print all rows."""
        titles, lines = [""], [[name] for name in self.rows]
        for column, title in COLUMNS.items():
            if not any(row[column] for row in self.rows.values()):
                continue
            kind, _, sides = title.rpartition(": ")
            parts = sides.split(" | ")
            titles += [f"{kind} {part}".strip() for part in parts]
            for line, row in zip(lines, self.rows.values(), strict=True):
                cells = row[column].split(" | ")
                line += cells + [""] * (len(parts) - len(cells))
        if self.markdown:
            for line in (titles, ["---"] * len(titles), *lines):
                print("| " + " | ".join(line) + " |")
            return
        for line in lines:
            print(f"\n{line[0]}")
            for title, cell in zip(titles[1:], line[1:], strict=True):
                if cell:
                    print(f"  {title:28} {cell}")


def main() -> None:
    """Print the table; with --form run as one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of steps of each form")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    default = "gpu" if has_accelerator() else "cpu"
    parser.add_argument("--device", choices=DEVICES, default=default, help="that both train on")
    parser.add_argument("--form", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.form:
        resolved = (flags.folder / RESOLVED).read_text()
        problem = dataclasses.replace(PROBLEMS[flags.only], resolved=resolved)
        serve(problem, flags.form, flags.folder, flags.device)
        return
    chosen = {name: p for name, p in PROBLEMS.items() if flags.only in name}
    if not chosen or flags.rounds < 1:
        parser.error(f"--only is part of one of {', '.join(PROBLEMS)}, --rounds at least 1")
    try:
        import jax
        import torch
    except ImportError as error:
        parser.error(f"{error}: pip install -e '.[bench]'")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, on {flags.device},"
        f" load {os.getloadavg()[0]:.1f}; jax {jax.__version__}, torch {torch.__version__}"
    )
    if os.getloadavg()[0] > BUSY_MACHINE:
        print("note: another job is running: PyTorch suffers more from that than we do")
    table = Table(flags.markdown)
    try:
        for name, problem in chosen.items():
            with tempfile.TemporaryDirectory() as folder:
                table.rows[name] = measure(name, problem, flags.rounds, Path(folder), flags.device)
    except Failure as failure:
        sys.exit(f"error: {failure}")
    finally:
        table.print()


if __name__ == "__main__":
    main()
