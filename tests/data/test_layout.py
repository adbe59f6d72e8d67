"""Sub-folders as splits, as classes within them, or neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folders import changed, levels, pairs, settings, write

from gan_jax.core.errors import UserError
from gan_jax.data import open_data


def of_splits(root: Path, *names: str, classes: str = "ab") -> None:
    """Write three images of each class into each folder, with increasing grey levels."""
    numbers = iter(range(200))
    for name in names:
        for c in classes:
            write(root, *(f"{name}/{c}/{next(numbers)}.png" for _ in range(3)))


@pytest.mark.parametrize("val", ["val", "valid", "validation", "eval", "Val"])
def test_splits_are_used(val: str, tmp_path: Path) -> None:
    of_splits(tmp_path, "train", val, "test")
    write(tmp_path, "199.png")
    dataset = open_data(settings(tmp_path))
    assert dataset.spec.class_names == ("a", "b")
    assert dataset.spec.counts == {"train": 6, "eval": 6, "test": 6}
    found = [sorted(levels(dataset, split)) for split in ("train", "eval", "test")]
    assert found == [list(range(i, i + 6)) for i in (0, 6, 12)]
    labels = dataset.splits["test"].get(np.arange(6))["label"]
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.spec.notes == (f"{tmp_path}: left out 1 (beside the splits): 199.png",)


def test_splits_without_val(tmp_path: Path) -> None:
    of_splits(tmp_path, "train", "test")
    dataset = open_data(settings(tmp_path))
    assert dataset.spec.counts == {"train": 6, "eval": 6, "test": 6}
    assert sorted(levels(dataset, "eval")) == sorted(levels(dataset, "test")) == list(range(6, 12))
    assert "no split val: the test images are split eval too" in dataset.spec.notes[0]
    # With folder train alone, or opened directly, the same images are held out.
    shutil.rmtree(tmp_path / "test")
    held_out = [
        levels(open_data(settings(path)), "eval") for path in (tmp_path, tmp_path / "train")
    ]
    assert held_out[0] == held_out[1] != []


def test_splits_of_pairs(tmp_path: Path) -> None:
    for side in ("one", "two"):
        write(tmp_path / side, *(f"{s}/{i}.png" for s in ("train", "val") for i in range(4)))
    dataset = open_data(pairs(tmp_path))
    assert dataset.spec.counts == {"train": 4, "eval": 4} and not dataset.spec.num_classes
    assert levels(dataset, "eval") == levels(dataset, "eval", "target") == [0, 1, 2, 3]


def test_folders_that_are_no_splits(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "plane/2.png", "plane/3.png")  # vehicles
    dataset = open_data(changed(settings(tmp_path), holdout=1.0))
    assert dataset.spec.class_names == ("plane", "train") and "test" not in dataset.splits


def test_sub_folders_that_are_refused(tmp_path: Path) -> None:
    of_splits(tmp_path / "deep", "images")
    with pytest.raises(UserError, match=r"one sub-folder, images, .*\(a, b\).*deep/images"):
        open_data(settings(tmp_path / "deep"))
    of_splits(tmp_path / "none", "val", "test")
    with pytest.raises(UserError, match=r"has test, val and no train"):
        open_data(settings(tmp_path / "none"))
    of_splits(tmp_path / "twice", "train", "val", "eval")
    with pytest.raises(UserError, match=r"both eval and val: which is split eval"):
        open_data(settings(tmp_path / "twice"))
    of_splits(tmp_path / "more", "train")
    of_splits(tmp_path / "more", "test", classes="bc")
    with pytest.raises(UserError, match=r"split test has classes that train has not \(c\)"):
        open_data(settings(tmp_path / "more"))
    shutil.rmtree(tmp_path / "more" / "test")
    write(tmp_path / "more", "test/7.png")
    spec = open_data(settings(tmp_path / "more")).spec
    assert set(spec.counts) == {"train", "eval"}
    assert "left out 1 (split test has no sub-folders" in spec.notes[0]
