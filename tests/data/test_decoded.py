"""Cached images are read back unchanged, decoded again if damaged, and evicted at the limit."""

from __future__ import annotations

import os
from pathlib import Path

import chex
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.common import base
from gan_jax.data import decoded, open_data
from gan_jax.data.dataset import Arrays


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(decoded, "LEAST_SECONDS", 0.0)


class Decoder:
    """Counts its calls."""

    def __init__(self, value: int = 0, size: int = 10) -> None:
        self.calls, self.value, self.size = 0, value, size

    def __call__(self) -> Arrays:
        self.calls += 1
        images = np.full((self.size, 4, 4, 1), self.value, np.uint8)
        return {"image": images, "label": np.arange(self.size, dtype=np.int32)}


def test_decodes_once() -> None:
    decode = Decoder(7)
    first, second = decoded.cached("a", decode), decoded.cached("a", decode)
    assert decode.calls == 1
    chex.assert_trees_all_equal(first, second)
    assert second["image"].dtype == np.uint8 and second["label"].dtype == np.int32
    assert decoded.cached("b", Decoder(8))["image"][0, 0, 0, 0] == 8


def test_what_is_quick_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "LEAST_SECONDS", 100.0)
    decode = Decoder()
    decoded.cached("a", decode), decoded.cached("a", decode)
    assert decode.calls == 2 and not decoded.folder().exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_damage_is_decoded_again(damage: str) -> None:
    decode = Decoder(7, size=1000)
    expected = decoded.cached("a", decode)
    path = decoded.folder() / "a.npz"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-100], "empty": b"", "other": b"x" * 99}.get(damage, content))
    chex.assert_trees_all_equal(decoded.cached("a", decode), expected)
    assert decode.calls == 2
    chex.assert_trees_all_equal(decoded.cached("a", decode), expected)
    assert decode.calls == 2, "written anew"


def test_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for i, name in enumerate("abc"):
        decoded.cached(name, Decoder(size=1000))
        os.utime(decoded.folder() / f"{name}.npz", (i, i))
    decoded.cached("a", Decoder(size=1000))  # used: now the newest
    monkeypatch.setattr(decoded, "LIMIT", 3 * 21_000)
    decoded.cached("d", Decoder(size=1000))
    assert {p.stem for p in decoded.folder().iterdir()} == {"a", "c", "d"}
    decoded.cached("huge", Decoder(size=100_000))
    assert not (decoded.folder() / "huge.npz").exists()


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "gan_jax").write_text("a file where the folder would be")
    decode = Decoder(7)
    assert decoded.cached("a", decode)["image"].max() == 7 and decode.calls == 1


def test_mnist(data_at_hand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test images, decoded and from the cache; another size is another entry."""

    def config(size: int) -> ConfigDict:
        data = base("gan").data
        data.update(dict(source="tfds", name="mnist", dir=str(data_at_hand / "tfds")))
        data.update(dict(size=(size, size), channels=1))
        return data

    first = open_data(config(28)).splits["test"].arrays
    assert len(list(decoded.folder().iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr("gan_jax.data.tfds.stack", None)  # decoding needs it
        chex.assert_trees_all_equal(open_data(config(28)).splits["test"].arrays, first)
    assert len(list(decoded.folder().iterdir())) == 1
    assert open_data(config(8)).splits["test"].arrays["image"].shape[1:] == (8, 8, 1)
    assert len(list(decoded.folder().iterdir())) == 2
