"""The run of `python main.py`: its samples are recognised as the requested digits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.svm import SVC

import gan_jax
from gan_jax.data import open_data
from gan_jax.methods.configs import load_config
from gan_jax.rundir.writer import read_metrics


@pytest.fixture(scope="module")
def quickstart() -> Path:
    """Return the quickstart's run; the tests do not train it, `python main.py` does."""
    workdir = Path(os.environ.get("GAN_JAX_QUICKSTART", "runs/quickstart"))
    if not (workdir / "checkpoints").is_dir():
        pytest.skip(f"no run in {workdir}: make it with python main.py")
    return workdir.resolve()


@pytest.fixture(scope="module")
def reader() -> SVC:
    """Return a scikit-learn classifier trained on the real digits; 98 % on held-out ones."""
    splits = open_data(load_config("configs/quickstart.py").data).splits
    real = {name: split.get(np.arange(len(split))) for name, split in splits.items()}
    model = SVC(C=10).fit(flat(real["train"]["image"]), real["train"]["label"])
    assert model.score(flat(real["eval"]["image"]), real["eval"]["label"]) > 0.97
    return model


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def test_the_run_is_complete(quickstart: Path) -> None:
    config = json.loads((quickstart / "config.json").read_text())
    assert read_metrics(quickstart)[-1]["step"] == config["train"]["steps"]
    for name in ("spec.json", "environment.json", "checkpoints", "metrics.jsonl"):
        assert (quickstart / name).exists()
    assert list((quickstart / "tensorboard").glob("events.*"))


def test_the_grid_shows_each_class_in_its_row(quickstart: Path, reader: SVC) -> None:
    picture = np.asarray(Image.open(sorted((quickstart / "samples").glob("*_samples.png"))[-1]))
    rows, columns, side, factor, gap = 10, 10, 16, 3, 2
    pitch = side * factor + gap
    assert picture.shape == (rows * pitch + gap, columns * pitch + gap)
    cells = [
        picture[gap + r * pitch :, gap + c * pitch :][: side * factor, : side * factor]
        for r in range(rows)
        for c in range(columns)
    ]
    images = np.stack(cells)[:, ::factor, ::factor] / 127.5 - 1
    asked = np.repeat(np.arange(rows), columns)
    assert (reader.predict(flat(images)) == asked).mean() >= 0.8


def test_samples_are_what_was_asked_and_differ(quickstart: Path, reader: SVC) -> None:
    run = gan_jax.load(quickstart)
    asked = np.arange(500) % 10
    images = run.sample(500, seed=1, labels=list(asked))
    assert (reader.predict(flat(images)) == asked).mean() >= 0.8
    # No collapse within classes: samples vary at least a third as much as real images.
    split = open_data(run.config.data).splits["eval"]
    real = split.get(np.arange(len(split)))
    for digit in range(10):
        made = flat(images[asked == digit]).std(0).mean()
        assert made > flat(real["image"][real["label"] == digit]).std(0).mean() / 3
