"""Step time, start-up and peak memory of a config with and without `gan_jax/platform/heap.py`.

    python benchmarks/host_memory.py --config=configs/classifier.py:mnist

"default" is unmodified glibc; "pieces" reuses memory but keeps the heap fragmented by compilation;
"reused" is what main.py does; "arenas" is the same with glibc's default number of heaps. Each
setting has its own process, which compiles its step without a cache while the others wait. They
then take steps in turns, so that temporary slowdowns of the machine affect all, on synthetic data
of the config's image size. The table shows the median of all steps and, as the spread, the smallest
and largest median of a turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.processes import Failure, Process

FORMS = ("default", "pieces", "reused", "arenas")


def prepare(location: str, form: str) -> tuple[Callable[[], float], int]:
    """Return (function that takes a step and returns its seconds, batch size), after one step."""
    if form != "default":
        from gan_jax.platform import heap

        if form == "arenas":
            del heap.SETTINGS["arena_max"]
        heap.reuse_host_memory()
        if form == "pieces":
            heap.claim_fragments = lambda: 0
    import jax

    from gan_jax.core.keys import named_keys
    from gan_jax.data import open_data
    from gan_jax.data.pipeline import batches
    from gan_jax.methods.configs import load_config
    from gan_jax.methods.registry import make_task
    from gan_jax.parallel.mesh import make_parallel
    from gan_jax.training.step import make_step

    config = load_config(location)
    target = "synthetic" if config.task.name == "paired" else ""
    config.data.update(dict(source="synthetic", holdout=0.25, target_path=target))
    config.data.channels = config.data.channels or 3
    dataset, parallel = open_data(config.data), make_parallel("jit", 1)
    task = make_task(config, dataset.spec)
    keys, size = named_keys(0), config.train.batch_size
    state = parallel.compile_init(task.init)(keys["init"])
    step = parallel.compile_step(make_step(task, size))
    phase = task.phase(0)
    draws = itertools.repeat(phase.draws)
    split = dataset.splits["train"]
    source = iter(batches(split, seed=0, position=0, batch_size=size, draws=draws))

    def take() -> float:
        nonlocal state
        placed = parallel.place(next(source), axis=1)
        start = time.perf_counter()
        state, _ = step(phase, state, placed, keys["train"])
        jax.block_until_ready(state)
        return time.perf_counter() - start

    take()
    return take, size


def serve(location: str, form: str) -> None:
    """Report the first step, then answer each line with the step times and the peak memory."""
    take, size = prepare(location, form)
    print(json.dumps({"images": size}), flush=True)
    for line in sys.stdin:
        seconds = [take() for _ in range(json.loads(line)["steps"])]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak}), flush=True)


def row(process: Process, turns: list[list[float]], peak: float) -> list[str]:
    """Return the table cells of one setting."""
    step = statistics.median(itertools.chain(*turns))
    medians = [1000 * statistics.median(turn) for turn in turns]
    return [
        f"{1000 * step:.1f}",
        f"{min(medians):.1f} to {max(medians):.1f}",
        f"{process.first['images'] / step:.0f}",
        f"{process.start:.1f}",
        f"{peak:.0f}",
    ]


def measure(location: str, rounds: int, steps: int, folder: Path) -> None:
    """Print the table."""
    command = [sys.executable, __file__, f"--config={location}"]
    processes = [
        Process(form, [*command, f"--form={form}"], folder / f"{form}.log") for form in FORMS
    ]
    turns, peaks = {form: [] for form in FORMS}, {}
    for _ in range(rounds):
        for process in processes:
            # The first step of a turn, which refills the caches, is not counted.
            answer = process.ask("steps", steps=steps + 1)
            turns[process.form].append(answer["seconds"][1:])
            peaks[process.form] = answer["peak"]
    print(location)
    columns = ("step [ms]", "spread", "images/s", "start [s]", "peak [MiB]")
    print(f"{'':10}" + "".join(f"{name:>18}" for name in columns))
    for process in processes:
        cells = row(process, turns[process.form], peaks[process.form])
        print(f"{process.form:10}" + "".join(f"{cell:>18}" for cell in cells))
        process.close()


def main() -> None:
    """Print the table; with --form run as one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/classifier.py:mnist")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each form")
    parser.add_argument("--steps", type=int, default=5, help="that are counted of a turn")
    parser.add_argument("--form", choices=FORMS, help="of this process, which then serves")
    flags = parser.parse_args()
    if flags.form:
        serve(flags.config, flags.form)
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(flags.config, flags.rounds, flags.steps, Path(folder))
    except Failure as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
