"""Measure a restorer on another degradation than the one that it was trained on.

    python benchmarks/restoration_at.py --workdir=RUN --config=configs/dncnn.py:photos,channels=1

A blind denoiser is compared with one of a single deviation on the inputs of the latter: photographs
and degradation are those of --config, metrics those of `--mode=eval --metrics=restoration` with
seed 0. They are added to RUN/eval/STEP.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan_jax
from gan_jax.data.sources import open_data
from gan_jax.evaluation.restoration import compare_photographs
from gan_jax.library.transforms import make_changer
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task
from gan_jax.rundir.workdir import write_text


def measure(workdir: Path, location: str) -> dict[str, float]:
    """Return the metrics of a run on the test photographs as a config degrades them."""
    run, config = gan_jax.load(workdir), load_config(location)
    dataset = open_data(config.data)
    photographs = dataset.whole["test"]
    changer = make_changer(run, "", seed=0, options={})
    found = compare_photographs(
        make_task(config, dataset.spec).transform(""),
        photographs,
        lambda inputs, number: {"": changer.one(inputs, number)},
        count=len(photographs),
        seed=0,
        split="test",
    )
    path = run.workdir / "eval" / f"{run.step}.json"
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.is_file() else {}
    write_text(path, json.dumps({**before, **found}, indent=2, sort_keys=True) + "\n")
    return found


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="a run of a restorer")
    parser.add_argument("--config", required=True, help="FILE:ARGUMENT, its degradation and data")
    flags = parser.parse_args()
    for name, value in measure(flags.workdir, flags.config).items():
        print(f"{name} {value:.6g}")


if __name__ == "__main__":
    main()
