"""TFDS without TensorFlow: read a prepared data set, or report in one line how to prepare it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.common import base
from gan_jax.core.errors import UserError
from gan_jax.data import open_data


def settings(directory: Path | str, **changes: object) -> ConfigDict:
    config = base("gan").data
    config.update(dict(source="tfds", name="mnist", dir=str(directory), size=(28, 28)))
    config.update(dict(holdout=5000.0, memory_gib=0.0))
    config.update(changes)
    return config


def test_mnist(data_at_hand: Path) -> None:
    dataset = open_data(settings(data_at_hand / "tfds"))
    spec = dataset.spec
    assert spec.counts == {"train": 55_000, "eval": 5000, "test": 10_000}
    assert spec.counts == {name: len(split) for name, split in dataset.splits.items()}
    assert spec.image_shape == (28, 28, 1) and spec.num_classes == 10
    assert spec.class_names == tuple("0123456789")
    first = dataset.splits["test"].get(np.arange(8))
    assert first["image"].shape == (8, 28, 28, 1) and first["image"].dtype == np.float32
    assert first["label"].tolist() == [dataset.splits["test"].read(i)["label"] for i in range(8)]
    assert first["image"].min() == -1 and first["image"].max() == 1
    larger = open_data(settings(data_at_hand / "tfds", size=(32, 32), channels=3))
    assert larger.splits["eval"].get(np.arange(2))["image"].shape == (2, 32, 32, 3)
    assert larger.spec.fingerprint != spec.fingerprint


def test_in_memory_or_not(data_at_hand: Path) -> None:
    one = open_data(settings(data_at_hand / "tfds", size=(4, 4)))
    two = open_data(settings(data_at_hand / "tfds", size=(4, 4), memory_gib=1.0))
    assert one.spec == two.spec
    assert two.splits["train"].in_memory and not one.splits["train"].in_memory
    # Only splits that are used are decoded: here the smallest official one.
    some = np.asarray([9999, 0, 17, 17])
    for stream in ("image", "label"):
        expected = one.splits["test"].get(some)[stream]
        assert (two.splits["test"].get(some)[stream] == expected).all()


def test_directory_of_the_environment(data_at_hand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_at_hand / "tfds"))
    assert open_data(settings("")).spec.counts["test"] == 10_000


def test_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        open_data(settings(tmp_path))
    for part in ("'mnist' is not prepared in", str(tmp_path), "download_and_prepare", "data.dir="):
        assert part in str(error.value)
    assert not list(tmp_path.rglob("*.array_record*"))


def test_unknown(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="TFDS has no data set 'mnistt'"):
        open_data(settings(tmp_path, name="mnistt"))
    with pytest.raises(UserError, match="cannot open TFDS set 'mnist/nothing'"):
        open_data(settings(tmp_path, name="mnist/nothing"))
    with pytest.raises(UserError, match=r"data\.name is empty"):
        open_data(settings(tmp_path, name=""))
