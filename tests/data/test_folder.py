"""Image folders as users have them: flat, by class, in pairs, and with damaged files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folders import changed, levels, pairs, settings, write
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.data import open_data


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write(tmp_path / "flat", *(f"{i}.png" for i in range(20)))
    return tmp_path / "flat"


def test_flat_folder(flat: Path) -> None:
    dataset = open_data(settings(flat))
    spec = dataset.spec
    assert spec.name == "flat" and list(spec.streams) == ["image"]
    assert spec.image_shape == (6, 4, 1) and spec.num_classes == 0 and spec.class_names == ()
    assert spec.counts == {k: len(s) for k, s in dataset.splits.items()}
    train, held_out = levels(dataset, "train"), levels(dataset, "eval")
    assert sorted(train + held_out) == list(range(20)) and train and held_out
    again = open_data(settings(flat))
    assert levels(again, "eval") == held_out and again.spec == spec
    assert spec.preprocess["skipped"] == 0 and spec.preprocess["size"] == [6, 4]


def test_old_images_keep_their_split(flat: Path) -> None:
    before = open_data(settings(flat))
    write(flat, *(f"{i}.jpg" for i in range(100, 160)))
    after = open_data(settings(flat))
    for split in ("train", "eval"):
        assert set(levels(before, split)) == {x for x in levels(after, split) if x < 20}
        assert any(x > 90 for x in levels(after, split))
    assert after.spec.fingerprint != before.spec.fingerprint


def test_classes_are_sub_folders(tmp_path: Path) -> None:
    write(tmp_path, *(f"b/{i}.png" for i in range(10)), *(f"a/deep/{i}.png" for i in range(10, 20)))
    dataset = open_data(settings(tmp_path))
    assert dataset.spec.class_names == ("a", "b") and dataset.spec.num_classes == 2
    assert dataset.spec.streams["label"].dtype == "int32"
    for split in dataset.splits.values():
        batch = split.get(np.arange(len(split)))
        shade = (batch["image"][:, 0, 0, 0] + 1) * 127.5
        assert ((shade < 9.5) == (batch["label"] == 1)).all()
        assert batch["label"].dtype == np.int32 and batch["image"].dtype == np.float32
    write(tmp_path, "99.png")  # beside the sub-folders, which then are not classes
    spec = open_data(settings(tmp_path)).spec
    assert spec.num_classes == 0
    assert "no classes, since 1 of its images lie beside" in spec.notes[0]
    assert spec.notes[0].endswith("(a, b) and not in one: 99.png")
    assert spec.notes[0] in spec.unlabelled


def test_holdout(flat: Path) -> None:
    for holdout, expected in ((5.0, 5), (1.0, 1), (19.0, 19)):
        counts = open_data(changed(settings(flat), holdout=holdout)).spec.counts
        assert counts == {"train": 20 - expected, "eval": expected}
    for holdout, expected in ((1e-9, 1), (1 - 1e-12, 19)):
        spec = open_data(changed(settings(flat), holdout=holdout)).spec
        assert spec.counts == {"train": 20 - expected, "eval": expected}
        assert f"of 20 images data.holdout={holdout:g} by hash takes" in spec.notes[0]
    for holdout in (0.0, -0.5, 20.0):
        with pytest.raises(UserError, match=r"data\.holdout=.* both need at least 1"):
            open_data(changed(settings(flat), holdout=holdout))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    names = [f"c/{i}" for i in range(10)] + [f"d/{i}" for i in range(10, 20)]
    write(tmp_path / "one", *(f"{name}.png" for name in names))
    write(tmp_path / "two", *(f"{name}.bmp" for name in names), channels=3, negative=True)
    return tmp_path


def test_pairs_by_name(both: Path) -> None:
    dataset = open_data(pairs(both))
    assert set(dataset.spec.streams) == {"image", "target", "label"}
    for split in dataset.splits:
        images, targets = levels(dataset, split), levels(dataset, split, "target")
        assert [255 - x for x in images] == targets
    # Each half as stored: grey to colour is a translation like any other.
    assert dataset.spec.image_shape == (6, 4, 1)
    assert dataset.spec.streams["target"].shape == (6, 4, 3)
    assert dataset.splits["train"].get(np.arange(2))["target"].shape == (2, 6, 4, 3)
    same = open_data(pairs(both, channels=3))
    assert same.spec.image_shape == same.spec.streams["target"].shape == (6, 4, 3)
    # The split depends on the names: it is the same as without the targets.
    alone = open_data(settings(both / "one"))
    assert levels(alone, "eval") == levels(dataset, "eval")


def test_missing_partner(both: Path) -> None:
    (both / "two" / "c" / "3.bmp").unlink()
    (both / "two" / "d" / "12.bmp").unlink()
    with pytest.raises(UserError, match=r"2 of 20 images .* first is c/3\.png.*on_error=skip"):
        open_data(pairs(both))
    dataset = open_data(pairs(both, on_error="skip"))
    assert dataset.spec.preprocess["skipped"] == 2
    assert sum(dataset.spec.counts.values()) == 18
    shutil.rmtree(both / "two")
    write(both / "two", "77.png")
    with pytest.raises(UserError, match=r"no file of .* has its partner"):
        open_data(pairs(both, on_error="skip"))
    with pytest.raises(UserError, match="gone"):
        open_data(changed(pairs(both), target_path=str(both / "gone")))


def test_two_partners(both: Path) -> None:
    write(both / "two", "c/3.png")
    with pytest.raises(UserError, match=r"both c/3\.bmp and c/3\.png"):
        open_data(pairs(both))


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_bad_files(both: Path, memory_gib: float) -> None:
    (both / "one" / "c" / "4.png").write_bytes(b"garbage")
    (both / "two" / "d" / "15.bmp").write_bytes(b"BM")
    dataset = open_data(pairs(both, on_error="skip", memory_gib=memory_gib))
    assert dataset.spec.preprocess["skipped"] == 2
    left = sorted(levels(dataset, "train") + levels(dataset, "eval"))
    assert left == [i for i in range(20) if i not in (4, 15)]
    config = pairs(both, memory_gib=memory_gib)
    if memory_gib:
        with pytest.raises(UserError, match=r"one/c/4\.png"):
            open_data(config)
    else:  # by the header (for the channels), or when it is read
        with pytest.raises(UserError, match=r"one/c/4\.png"):
            open_data(config)
        dataset = open_data(changed(config, channels=3))
        with pytest.raises(UserError, match=r"one/c/4\.png|two/d/15\.bmp"):
            for name in dataset.splits:
                levels(dataset, name)


def test_all_bad(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"garbage")
    for channels in (0, 3):
        with pytest.raises(UserError, match="none of the 2 images"):
            open_data(settings(tmp_path, on_error="skip", channels=channels))
        with pytest.raises(UserError, match=r"a\.png"):
            open_data(settings(tmp_path, channels=channels))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path is empty"):
        open_data(changed(settings(tmp_path), path=""))
    with pytest.raises(UserError, match="gone is not there"):
        open_data(settings(tmp_path / "gone"))
    with pytest.raises(UserError, match="holds no images"):
        open_data(settings(tmp_path))


def test_mixed_files(tmp_path: Path) -> None:
    """The model input is the same for any bit depth, channels and size of the files."""
    Image.fromarray(np.full((30, 10), 65535, np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((5, 50, 4), np.uint8)).save(tmp_path / "b.png")  # clear: white
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(tmp_path / "c.jpg")
    Image.fromarray(np.ones((16, 3), bool)).save(tmp_path / "d.png")
    for channels in (0, 1, 3):
        for fit in ("stretch", "crop", "pad"):
            config = changed(settings(tmp_path, channels=channels, fit=fit), holdout=1.0)
            dataset = open_data(config)
            batch = dataset.splits["train"].get(np.arange(3))
            assert batch["image"].shape == (3, 6, 4, channels or 4)
            assert not channels or (batch["image"] == 1).all()


def test_fingerprint(both: Path) -> None:
    first = open_data(pairs(both)).spec.fingerprint
    assert open_data(pairs(both, memory_gib=0.0)).spec.fingerprint == first
    moved = both.parent / (both.name + "_moved")
    shutil.copytree(both, moved)
    assert open_data(pairs(moved)).spec.fingerprint == first
    assert open_data(changed(pairs(both), size=(8, 8))).spec.fingerprint != first
    assert open_data(changed(pairs(both), holdout=0.5)).spec.fingerprint != first
    write(moved / "two", "unpaired/7.png")
    assert open_data(pairs(moved)).spec.fingerprint == first
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(moved / "two" / "c" / "0.bmp")
    assert open_data(pairs(moved)).spec.fingerprint != first
    Image.fromarray(np.eye(9, dtype=np.uint8) * 200).save(both / "one" / "c" / "0.png")
    assert open_data(pairs(both)).spec.fingerprint != first


def test_folder_of_this_directory(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flat)
    assert open_data(settings(Path("."))).spec.name == "flat"


def test_emoji(data_at_hand: Path) -> None:
    config = settings(
        data_at_hand / "emoji" / "noto", target_path=str(data_at_hand / "emoji" / "twemoji")
    )
    config.update(dict(memory_gib=0.0, size=(16, 16)))
    dataset = open_data(config)
    assert sum(dataset.spec.counts.values()) == 1636 and dataset.spec.num_classes == 8
    assert 0.25 < dataset.spec.counts["eval"] / 1636 < 0.35


@pytest.mark.parametrize("odd", ["000.png", "200.png"])
def test_the_widest_image_says_the_channels(odd: str, tmp_path: Path) -> None:
    """At any position: one grey image among colour images, and one colour among grey ones."""
    names = [f"{i}.png" for i in range(100, 108)]
    for few, many, said in ((1, 3, "1 grey"), (3, 1, "8 grey"), (4, 3, "8 RGB")):
        root = tmp_path / f"{few}{many}"
        write(root, *names, channels=many)
        write(root, odd, channels=few)
        spec = open_data(settings(root)).spec
        assert spec.image_shape == (6, 4, max(few, many))
        assert said in spec.notes[0] and odd in spec.notes[0]
    assert open_data(settings(root, channels=3)).spec.notes == ()


def test_twelve_bits(tmp_path: Path) -> None:
    for i in range(8):
        Image.fromarray(np.full((9, 7), 4095, np.uint16)).save(tmp_path / f"{i}.png")
    dark = open_data(settings(tmp_path))
    assert levels(dark, "train")[0] == 16 and "--config.data.white=4095" in dark.spec.notes[0]
    bright = open_data(settings(tmp_path, white=4095))
    assert levels(bright, "train")[0] == 255 and bright.spec.notes == ()
    assert bright.spec.preprocess["white"] == 4095 and "white" not in dark.spec.preprocess
    assert bright.spec.fingerprint != dark.spec.fingerprint


def test_few_images_hold_one_out(tmp_path: Path) -> None:
    """With holdout 0.1 the hash alone holds out none of the eight images."""
    write(tmp_path, *(f"{i}.png" for i in range(8)))
    dataset = open_data(changed(settings(tmp_path), holdout=0.1))
    assert dataset.spec.counts == {"train": 7, "eval": 1}
    (note,) = dataset.spec.notes
    assert "of 8 images data.holdout=0.1 by hash takes none: the nearest 1 is held out" in note
    # The same image as with holdout=1, and the first that a larger fraction would take.
    for holdout in (1.0, 0.3):
        more = levels(open_data(changed(settings(tmp_path), holdout=holdout)), "eval")
        assert set(levels(dataset, "eval")) <= set(more)


def test_unreadable_files_are_all_named(tmp_path: Path) -> None:
    write(tmp_path, *(f"{i}.png" for i in range(8)))
    for i in (2, 5, 6, 7):
        (tmp_path / f"{i}.png").write_bytes(b"garbage")
    config = settings(tmp_path, channels=1)
    says = r"4 of the 8 images cannot be read: 2\.png, 5\.png, 6\.png, 7\.png; the first: .*2\.png"
    with pytest.raises(UserError, match=says):
        open_data(config)
    (note,) = open_data(changed(config, on_error="skip")).spec.notes
    assert note == f"{tmp_path}: left out 4 (unreadable): 2.png, 5.png, 6.png, 7.png"


def test_what_is_left_out_is_in_the_spec(both: Path) -> None:
    (both / "one" / "list.csv").write_text("")
    write(both / "two", "88.png")
    notes = open_data(pairs(both)).spec.notes
    assert notes == (
        f"{both / 'one'}: left out 1 (no PNG, JPEG, WebP, BMP or TIFF): list.csv",
        f"{both / 'two'}: left out 1 (no partner of the same name): 88.png",
    )


def test_integer_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    write(tmp_path, *(f"{c}/{i}.png" for c in range(12) for i in range(3)))
    dataset = open_data(settings(tmp_path))
    assert dataset.spec.class_names == tuple(map(str, range(12)))
    # Older runs sorted them as text, and must not resume with these labels.
    before = fingerprint_before(tmp_path)
    assert dataset.spec.fingerprint != before
    shutil.rmtree(tmp_path / "10")
    shutil.rmtree(tmp_path / "11")
    assert open_data(settings(tmp_path)).spec.fingerprint == fingerprint_before(tmp_path)


def fingerprint_before(root: Path) -> str:
    """Return the fingerprint of a grey folder as computed by the version of 2026-11-26."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    how = dict(size=[6, 4], channels=1, resize="bicubic", fit="stretch")
    description = [names, [(root / name).stat().st_size for name in names], how, 0, 0.3]
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def test_old_fingerprints_and_splits_hold(flat: Path) -> None:
    spec = open_data(settings(flat)).spec
    assert spec.fingerprint == fingerprint_before(flat)
    limit = int(0.3 * 2**64).to_bytes(8, "big")
    expected = [i for i in range(20) if hashlib.sha256(str(i).encode()).digest()[:8] < limit]
    assert sorted(levels(open_data(settings(flat)), "eval")) == expected
