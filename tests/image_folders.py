"""Folders of images that can be told apart, and configs that open them; for tests/data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs.common import base
from gan_jax.data import Dataset


def settings(path: Path, **changes: object) -> ConfigDict:
    config = base("gan").data
    given = dict(source="folder", path=str(path), size=(6, 4), holdout=0.3)
    config.update({**given, **changes})
    return config


def changed(config: ConfigDict, **changes: object) -> ConfigDict:
    config.update(changes)
    return config


def level(name: str) -> int:
    """Return the grey level that `write` gives an image, so that examples can be told apart."""
    return int(Path(name).stem)


def write(folder: Path, *names: str, channels: int = 1, negative: bool = False) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = 255 - level(name) if negative else level(name)
        array = np.full((9, 7, channels), shade, np.uint8)
        Image.fromarray(array[..., 0] if channels == 1 else array).save(path)


def levels(dataset: Dataset, split: str, stream: str = "image") -> list[int]:
    examples = dataset.splits[split]
    found = [examples.read(i)[stream] for i in range(len(examples))]
    assert all((x == x[0, 0, 0]).all() for x in found)
    return [int(x[0, 0, 0]) for x in found]


def pairs(folder: Path, **changes: object) -> ConfigDict:
    return settings(folder / "one", target_path=str(folder / "two"), **changes)
