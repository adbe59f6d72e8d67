"""Restoration of whole photographs: protocol and baselines against Pillow and scikit-image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import refuse, succeed
from conftest import ROOT, Trained
from PIL import Image

import gan_jax

color = pytest.importorskip("skimage.color")
metrics = pytest.importorskip("skimage.metrics")

SIZES = {"a.png": (52, 61), "b.png": (40, 49), "c.png": (37, 72), "d.png": (60, 40)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        noise = Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8))
        noise.resize((width, height), Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("edsr") / "run"
    config = gan_jax.load_config(
        f"{ROOT}/configs/edsr.py:folder,path={photos},size=24,patch=8,width=4,blocks=1,steps=2",
        {"train.batch_size": 8, "data.holdout": 2},
    )
    gan_jax.train(config, workdir)
    return workdir


def test_names_and_values(capsys: pytest.CaptureFixture, run: Path, photos: Path) -> None:
    out = succeed(capsys, "--mode=eval", f"--workdir={run}", "--metrics=restoration")
    assert "psnr[bicubic]/y/border2/x2/eval/2" in out
    loaded = gan_jax.load(run)
    found = json.loads((run / "eval" / "2.json").read_text())
    whole = loaded.dataset.whole["eval"]
    expected: dict[str, list[float]] = {}
    for i in range(len(whole)):
        image = whole.read(i)["image"]
        height, width = (side // 12 * 12 for side in image.shape[:2])
        clean = Image.fromarray(image[:height, :width])
        low = clean.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        restored = np.clip(loaded.transform(np.asarray(low)), -1, 1)
        made = {
            "": np.rint((restored + 1) * 127.5).astype(np.uint8),
            "bicubic": np.asarray(low.resize((width, height), Image.Resampling.BICUBIC)),
            "lanczos": np.asarray(low.resize((width, height), Image.Resampling.LANCZOS)),
        }
        for part, candidate in made.items():
            pair = [x[2:-2, 2:-2] for x in (np.asarray(clean), candidate)]
            luma = [color.rgb2ycbcr(x)[..., 0] for x in pair]
            name = f"[{part}]" if part else ""
            for space, (a, b) in (("y", luma), ("rgb", pair)):
                value = metrics.peak_signal_noise_ratio(a, b, data_range=255)
                expected.setdefault(f"psnr{name}/{space}/border2/x2/eval/2", []).append(value)
    assert {key for key in found if key.startswith("psnr")} == set(expected)
    for key, values in expected.items():
        assert found[key] == pytest.approx(np.mean(values), abs=0.05), (
            key
        )  # Pillow rounds between the axes
    assert found["ssim[lanczos]/y/border2/x2/eval/2"] <= 1


def test_mistakes(
    capsys: pytest.CaptureFixture, trained: object, run: Path, run_of: object
) -> None:
    gan: Trained = run_of("dcgan")
    arguments = ["--mode=eval", f"--workdir={gan.workdir}", "--metrics=restoration"]
    refuse(capsys, *arguments, says=["restoration", "no such metric"], keeps=gan.workdir / "eval")
    arguments = ["--mode=eval", f"--workdir={run}", "--metrics=restoration", "--name=translate"]
    refuse(capsys, *arguments, says=["'translate'", "restore"], keeps=run / "eval")
