"""benchmarks/restoration_baselines.py against other packages, and its stored lines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
from benchmarks import restoration_baselines as baselines
from gan_jax.core.metric_names import MetricName
from gan_jax.data.photographs import BUNDLED, _bundled


def test_bicubic_is_that_of_pillow_and_psnr_that_of_scikit_image() -> None:
    from skimage.color import rgb2ycbcr
    from skimage.metrics import peak_signal_noise_ratio as psnr

    values = []
    for place in BUNDLED["eval"]:
        image = Image.open(_bundled(*place)).convert("RGB")
        width, height = (side // 12 * 12 for side in image.size)
        image = image.crop((0, 0, width, height))
        small = image.resize((width // 4, height // 4), Image.Resampling.BICUBIC)
        large = small.resize((width, height), Image.Resampling.BICUBIC)
        one, other = (rgb2ycbcr(np.asarray(x))[4:-4, 4:-4, 0] for x in (image, large))
        values.append(psnr(one, other, data_range=255))
    stored = json.loads(baselines.FILE.read_text())
    found = {line["method"]: line["metrics"] for line in stored["x4"]}
    kept = found[baselines.ABOUT["bicubic"]]["psnr/y/border4/x4/test/3"]
    # Pillow rounds between the two axes, and to bytes, ours at the end only.
    assert kept == pytest.approx(np.mean(values), abs=0.02)


def test_stored_lines_are_those_of_every_task_with_its_protocol() -> None:
    stored = json.loads(baselines.FILE.read_text())
    assert list(stored) == list(baselines.TASKS)
    for task, lines in stored.items():
        assert lines and {line["method"] for line in lines} <= set(baselines.ABOUT.values())
        for line in lines:
            assert all(task in name for name in line["metrics"]), task


def test_a_line_has_the_metrics_of_its_baseline() -> None:
    names = [MetricName("psnr", part, ("x2", "test", 3)) for part in ("bicubic", "lanczos")]
    lines = baselines.lines_of({str(name): float(i) for i, name in enumerate(names)})
    assert [line["metrics"] for line in lines] == [{"psnr/x2/test/3": 0.0}, {"psnr/x2/test/3": 1.0}]


def test_methods_improve_a_flat_image() -> None:
    draws = np.random.default_rng(0).normal(0, 2 * baselines.SIGMA, (32, 32, 1))
    noisy = np.float32(0.2 + draws)
    for name, made in baselines.denoised(noisy, 0).items():
        assert (
            made.shape == noisy.shape and np.abs(made - 0.2).mean() < 0.6 * np.abs(draws).mean()
        ), name
    ramp = np.broadcast_to(np.linspace(-0.5, 0.5, 24, dtype=np.float32)[:, None, None], (24, 24, 3))
    hole = np.zeros((24, 24, 1), bool)
    hole[8:14, 8:14] = True
    inputs = np.concatenate([np.where(hole, 0, ramp), np.where(hole, 1, -1)], -1)
    (made,) = baselines.filled(np.float32(inputs), 0).values()
    np.testing.assert_allclose(made, ramp, atol=2e-3)
