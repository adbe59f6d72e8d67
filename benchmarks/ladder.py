"""Comparison of GAN configs on MNIST at 32 px, each with the same CPU time.

    TFDS_DATA_DIR=DIR python benchmarks/ladder.py --output=DIR --classifier=RUN
        [--only=NAME,...] [--seconds=150] [--seeds=0,1,2]

Runs are trained one after another, each on one core (`--core`; to use several cores, call the
command once per core with different names in --only). `main.py` trains a run for `--seconds` of CPU
time, counted from the first line of its log, and is then asked by SIGTERM to save and end. CPU time
of one core equals the wall time on an otherwise idle core; compiling the first step is not counted.
Then `main.py --mode=eval` compares 10,000 samples with the test images in the features of a
classifier (`configs/classifier.py:mnist`), and `--mode=sample` writes a grid.

Existing runs of this length and existing evaluations are not repeated. The table is made by
`main.py --mode=report`, whose commands are printed at the end.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# About 32 channels at 32 px in every network, and one discriminator update per generator update, to
# fit the short training.
_WIDTH = "mnist,width=32"
_ONE_UPDATE = "--config.task.disc_updates=1"
_CONSTANT = ("--config.optim.gen.schedule=constant", "--config.optim.disc.schedule=constant")
# The moving averages of StudioGAN's configs would start only after the end of these runs.
_EARLY = "--config.train.ema_start=0"
# name -> (config, overrides). Learning rates are constant, since runs end before a decay would.
UNCONDITIONAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "gan": ("gan.py:mnist", ()),
    "gan_conv2014": ("gan.py:mnist,net=conv2014,width=480,disc_width=64", ()),
    "dcgan": (f"dcgan.py:{_WIDTH}", ()),
    "lsgan": (f"lsgan.py:{_WIDTH}", ()),
    "wgan": (f"wgan.py:{_WIDTH}", ()),
    "wgan_gp": (f"wgan_gp.py:{_WIDTH}", _CONSTANT),
    "dragan": (f"dragan.py:{_WIDTH}", ()),
    "relativistic_gan": (f"relativistic_gan.py:{_WIDTH}", ()),
    "improved_gan": (f"improved_gan.py:{_WIDTH}", ()),
    "semi_supervised_gan": (f"semi_supervised_gan.py:{_WIDTH}", ()),
    "infogan": (f"infogan.py:{_WIDTH}", ()),
    "sngan": (f"sngan.py:{_WIDTH}", _CONSTANT),
    # The same discriminator, and about as many multiplications in the generator.
    "sngan_dense": (
        "sngan.py:mnist,width=64,gen_block=dense",
        (*_CONSTANT, "--config.model.disc.width=16"),
    ),
    "ssgan": (f"ssgan.py:{_WIDTH}", ()),
    "diffaugment_gan": (f"diffaugment_gan.py:{_WIDTH}", _CONSTANT),
    "ada_gan": (f"ada_gan.py:{_WIDTH}", ()),
    "progan": ("progan.py:mnist,width=32,stage_images=800", ()),
    "lapgan": ("lapgan.py:mnist,width=8", ("--config.model.disc.width=24",)),
}
CONDITIONAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "dcgan_projection": (f"dcgan.py:{_WIDTH},conditional=projection", ()),
    "cgan_projection": (f"cgan_projection.py:{_WIDTH}", _CONSTANT),
    "acgan": (f"acgan.py:{_WIDTH}", ()),
    "sagan": (f"sagan.py:{_WIDTH}", ()),
    "biggan": ("biggan.py:mnist,width=8", (_EARLY, "--config.model.disc.width=8")),
    "biggan_deep": ("biggan_deep.py:mnist,width=16", (_EARLY,)),
    "contragan": (f"contragan.py:{_WIDTH}", (_EARLY,)),
    "reacgan": (f"reacgan.py:{_WIDTH}", (_EARLY,)),
}
MEASURED = ("fid", "precision_k3", "recall_k3", "density_k5", "coverage_k5")
_FIELDS = ("steps=1000000", "log_every=10", "sample_every=0", "save_every=1000000")
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Return the CPU time of a running process over all its threads [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def train(config: str, changes: tuple[str, ...], seed: int, seconds: float, run: Path) -> None:
    """Train a run for a given CPU time, unless it exists; its log is RUN.log."""
    if (run / "trained").is_file():
        return
    command = [sys.executable, "main.py", f"--config=configs/{config}", f"--workdir={run}"]
    command += [
        f"--config.seed={seed}",
        _ONE_UPDATE,
        *changes,
        *(f"--config.train.{f}" for f in _FIELDS),
    ]
    log = run.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    lines, start = run / "metrics.jsonl", None
    while process.poll() is None:
        if start is None and lines.is_file() and lines.read_text().strip():
            start = processor_seconds(process.pid)
        if start is not None and processor_seconds(process.pid) - start >= seconds:
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.2)
    if process.wait() not in (0, 128 + signal.SIGTERM) or start is None:
        sys.exit(f"error: {run.name} ended with exit code {process.returncode}: see {log}")
    (run / "trained").write_text(f"{seconds:g} s of processor time\n")


def main() -> None:
    """Train and evaluate, one run after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--classifier", required=True, help="run whose features compare images")
    parser.add_argument("--only", default="", help="names, separated by commas; all by default")
    parser.add_argument("--seconds", type=float, default=150.0, help="of processor time a run")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--core", type=int, default=0, help="that runs are bound to")
    flags = parser.parse_args()
    rows = {**UNCONDITIONAL, **CONDITIONAL}
    names = flags.only.split(",") if flags.only else list(rows)
    if unknown := sorted(set(names) - set(rows)):
        parser.error(f"--only={','.join(unknown)}: of {', '.join(rows)}")
    os.sched_setaffinity(0, {flags.core})
    flags.output.mkdir(parents=True, exist_ok=True)
    for seed in map(int, flags.seeds.split(",")):
        for name in names:
            run = flags.output / f"{name}_s{seed}"
            train(*rows[name], seed, flags.seconds, run)
            after(run, flags.classifier)
            print(f"{time.strftime('%H:%M:%S')} {run.name}", flush=True)
    for table in (UNCONDITIONAL, CONDITIONAL):
        there = [p for name in table for p in sorted(flags.output.glob(f"{name}_s[0-9]*/eval"))]
        runs = ",".join(str(path.parent) for path in there)
        print(f"python main.py --mode=report --workdir={runs} --metrics={','.join(MEASURED)}")


def after(run: Path, classifier: str) -> None:
    """Evaluate a run and write its sample grid, unless they exist."""
    command = [sys.executable, "main.py", f"--workdir={run}"]
    if not any((run / "eval").glob("*.json")):
        options = ["--metrics=fid,prdc", "--num=10000", "--split=test"]
        features = f"--features=cnn:{classifier}"
        subprocess.run(
            [*command, "--mode=eval", *options, features], check=True, stdout=subprocess.DEVNULL
        )
    if not (run / "grid").is_dir():
        subprocess.run(
            [*command, "--mode=sample", "--num=80", f"--output={run / 'grid'}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    main()
