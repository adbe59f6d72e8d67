"""Bundled digits, .npz files, synthetic data, and errors for invalid ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.common import base
from gan_jax.core.errors import UserError
from gan_jax.data import Dataset, open_data
from gan_jax.data.dataset import fingerprint, split_at_random

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (12, 5, 7, 3)).astype(np.uint8)
LABELS = (np.arange(12) % 3).astype(np.int64)


def settings(source: str, **changes: object) -> ConfigDict:
    config = base("gan").data
    config.update(dict(source=source, size=(5, 7), holdout=0.25))
    config.update(changes)
    return config


def open_npz(path: Path, _config: ConfigDict | None = None, **arrays: np.ndarray) -> Dataset:
    np.savez(path, **arrays)
    return open_data(_config or settings("npz", path=str(path)))


def everything(dataset: Dataset, stream: str) -> np.ndarray:
    """Return a stream over both splits, in the order of the source."""
    train, held_out = split_at_random(12, 0.25)
    whole = [dataset.splits[name].get(np.arange(n)) for name, n in dataset.spec.counts.items()]
    joined = np.concatenate([batch[stream] for batch in whole])
    return joined[np.argsort(np.concatenate([train, held_out]))]


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    dataset = open_npz(path, image=IMAGES, label=LABELS, other=np.zeros(3))
    spec = dataset.spec
    assert spec.name == "mine" and set(spec.streams) == {"image", "label"}
    assert spec.counts == {"train": 9, "eval": 3} and spec.num_classes == 3
    assert spec.class_names == ("0", "1", "2") and spec.image_shape == (5, 7, 3)
    np.testing.assert_allclose((everything(dataset, "image") + 1) * 127.5, IMAGES, atol=1e-4)
    assert (everything(dataset, "label") == LABELS).all()
    assert everything(dataset, "label").dtype == np.int32
    one = dataset.splits["eval"].read(1)
    assert one["image"].dtype == np.uint8
    batch = dataset.splits["eval"].get(np.asarray([1, 1]))
    np.testing.assert_allclose((batch["image"][1] + 1) * 127.5, one["image"], atol=1e-4)


def test_npz_of_grey_images(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    assert open_npz(path, image=IMAGES[..., 0]).spec.image_shape == (5, 7, 1)
    config = settings("npz", path=str(path), channels=3, size=(8, 4))
    assert open_data(config).spec.image_shape == (8, 4, 3)


def test_npz_with_targets(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    vectors = DRAW.normal(size=(12, 4))
    dataset = open_npz(path, image=IMAGES, target=vectors)
    assert dataset.spec.streams["target"].kind == "vector"
    assert dataset.spec.streams["target"].shape == (4,) and dataset.spec.num_classes == 0
    assert (everything(dataset, "target") == vectors.astype(np.float32)).all()
    assert open_npz(path, image=IMAGES, target=vectors[:, 0]).spec.streams["target"].shape == (1,)
    # An image target keeps its own channels: grey to colour.
    dataset = open_npz(path, image=IMAGES[..., 0], target=IMAGES)
    assert dataset.spec.image_shape == (5, 7, 1)
    assert dataset.spec.streams["target"].shape == (5, 7, 3)
    assert dataset.spec.streams["target"].kind == "image"
    np.testing.assert_allclose((everything(dataset, "target") + 1) * 127.5, IMAGES, atol=1e-4)
    config = settings("npz", path=str(path), channels=1)
    assert open_data(config).spec.streams["target"].shape == (5, 7, 1)


BAD = {
    "no array 'image': it has x, y": dict(x=IMAGES, y=LABELS),
    "it has none": dict(),
    "'image' is float32": dict(image=IMAGES.astype(np.float32)),
    r"'image' is uint8 \[12, 5\]": dict(image=IMAGES[:, :, 0, 0]),
    r"'image' is uint8 \[12, 5, 7, 2\]": dict(image=IMAGES[..., :2]),
    "11 of 'label' for 12": dict(image=IMAGES, label=LABELS[:-1]),
    "'label' must be whole": dict(image=IMAGES, label=LABELS / 2),
    r"whole numbers \[N\]": dict(image=IMAGES, label=np.eye(12, dtype=np.int32)),
    "'label' has negative": dict(image=IMAGES, label=LABELS - 1),
    r"'target' is int64 .* or float vectors": dict(image=IMAGES, target=LABELS),
    "'target' is float64": dict(image=IMAGES, target=IMAGES / 255),
    "'image' holds no examples": dict(image=IMAGES[:0]),
    r"'image' holds no examples, its shape is \(\)": dict(image=np.uint8(3)),
    "'label' holds no examples": dict(image=IMAGES, label=np.int32(3)),
    "cannot read": dict(image=np.asarray([None] * 12, object)),
    r"data\.holdout": dict(image=IMAGES[:1]),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_npz(message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        open_npz(tmp_path / "x.npz", **BAD[message])


def test_damaged_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, image=IMAGES)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"", b"garbage", whole[:100], whole[:-10], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot read .*x\.npz as \.npz"):
            open_data(settings("npz", path=str(path)))
    with path.open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(UserError, match=r"cannot read .*x\.npz as \.npz"):
        open_data(settings("npz", path=str(path)))
    for gone in ("", str(tmp_path), str(tmp_path / "gone.npz")):
        with pytest.raises(UserError, match="is not a file"):
            open_data(settings("npz", path=gone))


def test_a_file_of_another_name_holds_the_same_data(tmp_path: Path) -> None:
    spec = open_npz(tmp_path / "x.npz", image=IMAGES, label=LABELS).spec
    (tmp_path / "x.npz").rename(tmp_path / "moved.npz")
    moved = open_data(settings("npz", path=str(tmp_path / "moved.npz"))).spec
    assert (moved.name, moved.fingerprint) == ("moved", spec.fingerprint)
    # The file's name was once part of the fingerprint, so older runs have this one.
    arrays = {"image": IMAGES, "label": LABELS.astype(np.int32)}
    how = {**spec.preprocess}
    old = dataclasses.replace(spec, fingerprint=fingerprint(["x", how, 0.25], arrays), former=())
    assert old.same_data(spec) and not old.same_data(moved)
    assert not spec.same_data(open_npz(tmp_path / "x.npz", image=IMAGES[::-1], label=LABELS).spec)


def test_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    first = open_npz(path, image=IMAGES, label=LABELS).spec.fingerprint
    small = settings("npz", path=str(path), memory_gib=0.0)
    assert open_npz(path, small, image=IMAGES, label=LABELS).spec.fingerprint == first
    other = IMAGES.copy()
    other[3, 2, 1, 0] ^= 1
    assert open_npz(path, image=other, label=LABELS).spec.fingerprint != first
    assert open_npz(path, image=IMAGES, label=LABELS[::-1]).spec.fingerprint != first
    assert open_npz(path, image=IMAGES).spec.fingerprint != first
    nearest = settings("npz", path=str(path), resize="nearest")
    assert open_npz(path, nearest, image=IMAGES, label=LABELS).spec.fingerprint != first


def test_digits() -> None:
    dataset = open_data(settings("digits", size=(16, 16), holdout=0.2))
    spec = dataset.spec
    assert spec.counts == {"train": 1438, "eval": 359} and spec.num_classes == 10
    assert spec.image_shape == (16, 16, 1)
    batch = dataset.splits["train"].get(np.arange(1438))
    assert batch["image"].min() == -1 and batch["image"].max() > 0.95
    assert set(batch["label"].tolist()) == set(range(10))
    # Bright strokes on dark ground, in both splits.
    assert batch["image"].mean() < -0.2
    assert spec == open_data(settings("digits", size=(16, 16), holdout=0.2)).spec


def test_synthetic() -> None:
    dataset = open_data(settings("synthetic", size=(8, 8), target_path="synthetic"))
    assert dataset.spec.counts == {"train": 48, "eval": 16} and dataset.spec.num_classes == 10
    batch = dataset.splits["train"].get(np.arange(48))
    np.testing.assert_allclose(batch["target"], -batch["image"], atol=1e-6)
    assert "target" not in open_data(settings("synthetic")).spec.streams
    assert open_data(settings("synthetic", channels=3)).spec.image_shape == (5, 7, 3)
    again = open_data(settings("synthetic", size=(8, 8), target_path="synthetic"))
    assert again.spec == dataset.spec


def test_splits_share_memory() -> None:
    splits = open_data(settings("synthetic")).splits
    assert splits["train"].arrays is splits["eval"].arrays


def test_bad_settings() -> None:
    with pytest.raises(UserError, match=r"data\.source='digit'.*did you mean 'digits'"):
        open_data(settings("digit"))
    for size in ((0, 8), (8, -1), (8,), (8, 8, 3), ()):
        with pytest.raises(UserError, match=r"data\.size=.*\(height, width\)"):
            open_data(settings("digits", size=size))
    for holdout in (0.0, -0.5, 2000.0, 1e-9):
        with pytest.raises(UserError, match=r"data\.holdout"):
            open_data(settings("digits", holdout=holdout))
