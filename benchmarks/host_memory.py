"""Step time, start-up and peak memory of a config with and without what `gan_jax/heap.py` does.

    python benchmarks/host_memory.py --config=configs/classifier.py:mnist

"default" is glibc as it comes, "pieces" reuses its memory and leaves the pieces of compilations
where they are, "reused" is what main.py does. Each form runs in processes of its own, in turns, on
synthetic data of the config's image size, and compiles its step; the table shows the median step of
all rounds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

FORMS = ("default", "pieces", "reused")


def measure(location: str, form: str, steps: int) -> dict[str, float]:
    """Train a few steps in this process and return seconds and MiB."""
    began = time.perf_counter()
    if form != "default":
        from gan_jax import heap

        heap.reuse_host_memory()
        if form == "pieces":
            heap.take_pieces = lambda: 0
    import jax

    from gan_jax.config import load_config
    from gan_jax.data import open_data
    from gan_jax.data.pipeline import batches
    from gan_jax.keys import named_keys
    from gan_jax.parallel import make_parallel
    from gan_jax.task import make_task
    from gan_jax.train import make_step

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
    draws = [phase.draws] * (steps + 1)
    seconds = []
    for batch in batches(dataset.splits["train"], seed=0, position=0, batch_size=size, draws=draws):
        placed = parallel.place(batch, axis=1)
        start = time.perf_counter()
        state, _ = step(phase, state, placed, keys["train"])
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:
            first = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step": statistics.median(seconds[1:]), "start": first, "peak": peak, "images": size}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/classifier.py:mnist")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--form", choices=FORMS, help="measure one form and print JSON")
    flags = parser.parse_args()
    if flags.form:
        print(json.dumps(measure(flags.config, flags.form, flags.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    for _ in range(flags.rounds):
        for form in FORMS:
            command = [sys.executable, __file__, f"--form={form}", f"--config={flags.config}"]
            command.append(f"--steps={flags.steps}")
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found[form].append(json.loads(output.splitlines()[-1]))
    print(flags.config)
    columns = ("step [ms]", "images/s", "start [s]", "peak [MiB]")
    print(f"{'':10}" + "".join(f"{name:>12}" for name in columns))
    for form, runs in found.items():
        step, start, peak = (
            statistics.median(r[k] for r in runs) for k in ("step", "start", "peak")
        )
        speed = runs[0]["images"] / step
        print(f"{form:10}{1000 * step:12.1f}{speed:12.0f}{start:12.1f}{peak:12.0f}")


if __name__ == "__main__":
    main()
