"""Photographs cut into windows at full resolution, alone and in pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_folders import settings
from ml_collections import ConfigDict
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.data.windows import starts

SHAPES = {"a.png": (13, 30), "b.png": (12, 12), "c.jpg": (40, 15), "d.png": (20, 21)}


def write(folder: Path, factor: int = 1, shapes: dict[str, tuple[int, int]] = SHAPES) -> Path:
    """Write photographs whose pixels tell their place: red the row, green the column."""
    folder.mkdir()
    for number, (name, (height, width)) in enumerate(shapes.items()):
        image = np.zeros((height * factor, width * factor, 3), np.uint8)
        image[..., 0] = (np.arange(height * factor) // factor)[:, None]
        image[..., 1] = np.arange(width * factor) // factor
        image[..., 2] = 50 * number
        Image.fromarray(image).save(folder / name, quality=100, subsampling=0)
    return folder


def section(folder: Path, **changes: object) -> ConfigDict:
    given = dict(fit="windows", size=(12, 12), channels=3, holdout=1.0)
    return settings(folder, **{**given, **changes})


def test_windows_cover_an_axis_evenly() -> None:
    assert (
        starts(12, 12, 6) == [0] and starts(13, 12, 6) == [0, 1] and starts(24, 12, 12) == [0, 12]
    )
    for length in range(12, 80):
        found = starts(length, 12, 6)
        assert found[0] == 0 and found[-1] == length - 12
        assert max(np.diff(found), default=0) <= 6


def test_an_example_is_a_window_of_a_photograph_at_its_own_resolution(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos")
    dataset = open_data(section(folder))
    spec = dataset.spec
    assert spec.image_shape == (12, 12, 3) and spec.num_classes == 0
    assert spec.counts == {k: len(s) for k, s in dataset.splits.items()}
    assert {len(whole) for whole in dataset.whole.values()} == {3, 1}
    seen = 0
    for split, examples in dataset.splits.items():
        whole = [dataset.whole[split].read(i)["image"] for i in range(len(dataset.whole[split]))]
        covered = {int(x[0, 0, 2]) // 40: np.zeros(x.shape[:2], bool) for x in whole}
        photos = {int(x[0, 0, 2]) // 40: x for x in whole}
        for image in examples.stored(np.arange(len(examples)))["image"]:
            red, green, blue = (int(level) for level in image[0, 0])
            number = blue // 40
            # A JPEG's corner may be off by some levels: look for the place.
            places = [
                (y, x)
                for y in range(max(0, red - 2), red + 3)
                for x in range(max(0, green - 2), green + 3)
                if np.array_equal(photos[number][y : y + 12, x : x + 12], image)
            ]
            assert len(places) == 1
            covered[number][places[0][0] :, places[0][1] :][:12, :12] = True
            seen += 1
        assert all(x.all() for x in covered.values())
    assert seen == sum(spec.counts.values())
    # Twice the same, and other windows are other data.
    assert open_data(section(folder)).spec == spec
    assert open_data(section(folder, size=(10, 10))).spec.fingerprint != spec.fingerprint


def test_windows_that_do_not_fit_in_memory_are_read_one_by_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos")
    there, streamed = (open_data(section(folder, memory_gib=gib)) for gib in (4.0, 1e-9))
    assert there.splits["train"].in_memory and not streamed.splits["train"].in_memory
    every = np.arange(len(there.splits["train"]))
    a, b = (data.splits["train"].stored(every)["image"] for data in (there, streamed))
    np.testing.assert_array_equal(a, b)


def test_windows_of_both_halves_of_a_pair_show_the_same_place(tmp_path: Path) -> None:
    low, high = write(tmp_path / "low", shapes=PNG), write(tmp_path / "high", 2, PNG)
    dataset = open_data(section(low, target_path=str(high)))
    shapes = {name: stream.shape for name, stream in dataset.spec.streams.items()}
    assert shapes == {"image": (6, 6, 3), "target": (12, 12, 3)}
    batch = dataset.splits["train"].stored(np.arange(len(dataset.splits["train"])))
    np.testing.assert_array_equal(batch["target"][:, ::2, ::2], batch["image"])


PNG = {name: shape for name, shape in SHAPES.items() if name.endswith("png")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(size=(12, 10)), ["data.size=(12, 10)", "square"]),
        (dict(size=(14, 14)), ["smaller than a window", "a.png", "on_error=skip"]),
        (dict(halves="ab"), ["data.halves=ab", "two folders"]),
        (dict(source="digits"), ["data.source=digits", "data.source=folder"]),
    ],
)
def test_mistakes(tmp_path: Path, change: dict, says: list[str]) -> None:
    folder = write(tmp_path / "photos")
    with pytest.raises(UserError) as error:
        open_data(section(folder, **change))
    assert all(text in str(error.value) for text in says), str(error.value)


def test_halves_of_unlike_sizes(tmp_path: Path) -> None:
    low, high = write(tmp_path / "low", shapes=PNG), write(tmp_path / "high", 2, PNG)
    Image.new("RGB", (50, 40)).save(high / "d.png")
    with pytest.raises(UserError, match=r"d\.png are of 20x21 px and 40x50 px"):
        open_data(section(low, target_path=str(high)))


def test_small_photographs_are_left_out_if_asked(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos")
    dataset = open_data(section(folder, size=(14, 14), on_error="skip"))
    assert sum(len(whole) for whole in dataset.whole.values()) == 2
    notes = [note for note in dataset.spec.notes if "smaller than a window" in note]
    assert notes and any("b.png" in note for note in notes)


def test_photographs_of_other_packages(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    given = dict(source="photographs", fit="windows", size=(96, 96), channels=3)
    config = settings(tmp_path, **given)
    config.path = ""
    alone = open_data(config)
    sizes = [x["image"].shape for x in map(alone.whole["eval"].read, range(3))]
    assert sizes == [(300, 451, 3), (400, 600, 3), (427, 640, 3)]
    assert len(alone.whole["train"]) == 7
    assert alone.whole["test"].read(0)["image"].shape == (300, 451, 3)
    more = open_data(section(write(tmp_path / "photos"), size=(12, 12), source="photographs"))
    assert len(more.whole["train"]) == 7 + len(SHAPES) and len(more.whole["eval"]) == 3
    assert more.spec.fingerprint != alone.spec.fingerprint
    with pytest.raises(UserError, match=r"data\.fit=stretch"):
        open_data(settings(tmp_path, source="photographs"))
