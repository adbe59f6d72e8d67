"""Classical methods on the three test photographs: what a restoration network has to beat.

    python benchmarks/restoration_baselines.py [--only=x2,sigma25]

Photographs (chelsea, coffee, flower: split "test" of `data.source=photographs`), degradations and
metrics are those of `--mode=eval --metrics=restoration` with seed 0, so that a line here and a row
of the model zoo with the same metric names are of the same pixels. Parameters of the methods are
fixed, not tuned for these photographs; non-local means and BM3D are told the noise's deviation.
BM3D is measured if its package `bm3d` is installed (not free for commercial use).

Results go to configs/restoration_baselines.json; `python -m configs.zoo_common` shows them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage import restoration as classical

from gan_jax.core.metric_names import MetricName
from gan_jax.data.sources import open_data
from gan_jax.evaluation.restoration import compare_photographs
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task

FILE = Path(__file__).parents[1] / "configs" / "restoration_baselines.json"
SIGMA = 25 / 255
# name -> a config whose degradation it is.
TASKS = {
    "x2": "edsr.py:photos,scale=2",
    "x3": "edsr.py:photos,scale=3",
    "x4": "edsr.py:photos,scale=4",
    "sigma25": "dncnn.py:photos,channels=1,sigma=25",
    "blur": "deblur.py:photos",
    "jpeg10": "dejpeg.py:photos,quality=10",
    "grey": "colorize.py:photos",
    "masks": "inpaint.py:photos",
}
# What is compared, beside the degraded image itself and two filters that enlarge.
ABOUT = {
    "bicubic": "Pillow's bicubic filter",
    "lanczos": "Pillow's Lanczos filter",
    "input": "the degraded image",
    "median": "median of 3x3",
    "gaussian": "Gaussian of 1.2 px",
    "tv": "total variation (Chambolle), weight 0.12",
    "nlm": "non-local means: patches of 5, distance 6, h = 0.8 sigma, sigma known",
    "bm3d": "BM3D, sigma known",
    "biharmonic": "biharmonic interpolation",
}


def denoised(noisy: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Denoise a grey image [H, W, 1], noise of SIGMA included, by classical methods."""
    image = (noisy[..., 0] + 1) / 2
    made = {
        "median": ndimage.median_filter(image, 3),
        "gaussian": ndimage.gaussian_filter(image, 1.2),
        "tv": classical.denoise_tv_chambolle(image, weight=0.12),
        "nlm": classical.denoise_nl_means(
            image, patch_size=5, patch_distance=6, h=0.8 * SIGMA, sigma=SIGMA
        ),
    }
    if importlib.util.find_spec("bm3d"):
        from bm3d import bm3d

        made["bm3d"] = bm3d(image, SIGMA)
    return {name: np.float32(x)[..., None] * 2 - 1 for name, x in made.items()}


def filled(inputs: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Fill the hole of an image [H, W, 3 + 1], the mask last, by biharmonic interpolation."""
    made = classical.inpaint_biharmonic(
        (inputs[..., :-1] + 1) / 2, inputs[..., -1] > 0, channel_axis=-1
    )
    return {"biharmonic": np.float32(made) * 2 - 1}


METHODS = {"sigma25": denoised, "masks": filled}


def measure(
    config_name: str, methods: Callable[[np.ndarray, int], Mapping[str, np.ndarray]] | None = None
) -> dict[str, float]:
    """Return the metrics of all baselines, by the degradation of a config.

    Args:
      config_name: "NAME.py:ARGUMENT" in configs/.
      methods: as `compare_photographs` takes it; None: only the simple baselines.
    """
    config = load_config(f"configs/{config_name}")
    dataset = open_data(config.data)
    transform = make_task(config, dataset.spec).transform("")
    photographs = dataset.whole["test"]
    return compare_photographs(
        transform,
        photographs,
        methods or (lambda inputs, number: {}),
        count=len(photographs),
        seed=0,
        split="test",
    )


def lines_of(found: Mapping[str, float]) -> list[dict[str, object]]:
    """Return a line for each baseline from its metrics, whose names hold its own in brackets."""
    lines: dict[str, dict[str, float]] = {}
    for name, value in found.items():
        parsed = MetricName.parse(name)
        plain = str(MetricName(parsed.metric, "", parsed.protocol))
        lines.setdefault(parsed.part, {})[plain] = round(value, 6)
    return [{"method": ABOUT[part], "metrics": metrics} for part, metrics in lines.items()]


def main() -> None:
    """Measure, and write the lines of the tasks that were measured; others stay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"of {', '.join(TASKS)}; all by default")
    flags = parser.parse_args()
    names = flags.only.split(",") if flags.only else list(TASKS)
    if unknown := sorted(set(names) - set(TASKS)):
        parser.error(f"--only={','.join(unknown)}: of {', '.join(TASKS)}")
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    for name in names:
        stored[name] = lines_of(measure(TASKS[name], METHODS.get(name)))
        for line in stored[name]:
            shown = ", ".join(f"{k} {v:.4g}" for k, v in line["metrics"].items())
            print(f"{line['method']}: {shown}", flush=True)
        text = json.dumps({k: stored[k] for k in TASKS if k in stored}, indent=1)
        FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
