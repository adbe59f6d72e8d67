"""Overhead of the training loop: time per step in the loop over the time of the step alone.

    python benchmarks/loop_overhead.py [--rounds=5] [--only=SUBSTRING]

Each row trains a config by `gan_jax.experiment.train.train`, in a temporary run directory, with
logging every 48 steps and nothing else, and times the same compiled step on one batch that is on
the device; in turns, in one process; the median over rounds counts. "input wait" is the fraction of
the loop's time spent waiting for a batch, as logged by every run (`time/input_wait`): an upper
bound on the cost of input. With several steps per call, the step alone is timed in such calls too.
On CPU, input preparation and computation share the cores, and the overhead includes both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gan_jax.core.keys import named_keys
from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.experiment.train import train
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import make_parallel
from gan_jax.platform.heap import reuse_host_memory
from gan_jax.platform.logs import set_up_logging
from gan_jax.rundir.writer import read_metrics
from gan_jax.training.step import make_step

LOG_EVERY = 48
# A step of 5 ms on two fast cores.
MLP = ("vae", {"model.encoder": "mlp", "model.decoder": "mlp"}, 16, 128, 1000)
DCGAN = ("dcgan", {"model.gen.width": "8", "model.disc.width": "8"}, 64, 32, 250)
ROWS = {
    "VAE, MLP": (*MLP, 1),
    "VAE, MLP, 4 steps a call": (*MLP, 4),
    "VAE, MLP, 8 steps a call": (*MLP, 8),
    "DCGAN, 64 px, width 8": (*DCGAN, 1),
    "DCGAN, 64 px, width 8, batches by the host": (*DCGAN, 1, 0.0),
}


def make_config(
    family: str,
    fields: Mapping[str, str],
    size: int,
    batch: int,
    steps: int,
    steps_per_call: int,
    device_gib: float = 0.25,
) -> ConfigDict:
    """Return a config that trains on synthetic images in memory and only logs."""
    config = load_config(f"configs/{family}.py:digits", fields)
    config.data.update(dict(source="synthetic", size=(size, size), channels=3, holdout=0.25))
    config.data.device_gib = device_gib
    config.train.update(dict(steps=steps, batch_size=batch, log_every=LOG_EVERY, keep=1))
    config.train.update(dict(save_every=10 * steps, sample_every=0, steps_per_call=steps_per_call))
    config.eval.update(dict(every=0, best=""))
    return config


def step_alone(config: ConfigDict) -> float:
    """Return seconds per step on one batch that stays on the device."""
    parallel, dataset = make_parallel(), open_data(config.data)
    task, keys = make_task(config, dataset.spec), named_keys(config.seed)
    size, phase, many = config.train.batch_size, task.phase(0), config.train.steps_per_call
    state = parallel.compile_init(task.init)(keys["init"])
    step = parallel.compile_step(make_step(task, size))
    draws = [many * phase.draws]
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=size, draws=draws)
    batch = parallel.place(next(source), axis=1)
    times = []
    for i in range(4):
        start = time.perf_counter()
        for _ in range(LOG_EVERY // many):
            state, metrics = step(phase, state, batch, keys["train"])
        jax.block_until_ready((state, metrics))
        if i:  # the first compiles
            times.append((time.perf_counter() - start) / (LOG_EVERY // many * many))
    return statistics.median(times)


def step_in_loop(config: ConfigDict) -> tuple[float, float]:
    """Return seconds per step and the fraction of input wait of a training."""
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run")
        lines = read_metrics(Path(folder) / "run")
    # The first interval compiles. The host runs ahead of the device and then waits for it: single
    # log lines are unreliable, and one after less than LOG_EVERY steps is meaningless.
    lines = [line for line in lines[1:] if line["step"] % LOG_EVERY == 0]
    speed = statistics.harmonic_mean([line["time/images_per_second"] for line in lines])
    draws = make_task(config, open_data(config.data).spec).phase(0).draws
    wait = statistics.mean(line["time/input_wait"] for line in lines)
    return draws * config.train.batch_size / speed, wait


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    flags = parser.parse_args()
    set_up_logging()
    reuse_host_memory()
    print(f"{jax.devices()[0].platform}, jax {jax.__version__}")
    print("| training | step alone [ms] | in the loop [ms] | ratio | input wait |")
    print("|---|---|---|---|---|")
    for name, row in ROWS.items():
        if flags.only not in name:
            continue
        config = make_config(*row)
        pairs = []
        for _ in range(flags.rounds):
            alone = step_alone(config)
            pairs.append((alone, *step_in_loop(config)))
        alone, looped, wait = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b, _ in pairs)
        print(f"| {name} | {1e3 * alone:.2f} | {1e3 * looped:.2f} | {ratio:.3f} | {wait:.1%} |")


if __name__ == "__main__":
    main()
