"""Scanning a folder: images by content and through links, and a count of other files."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from commands import make_images
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.data import folders
from gan_jax.data.image_files import read_headers


def left_out(root: Path) -> dict[str, tuple[str, ...]]:
    return dict(folders.scan(root).left_out)


def test_names_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.jpg", "a/notes.txt", ".hidden.png", ".cache/x.png", "d.png/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("@eaDir/b.PNG/thumb.jpg", "__MACOSX/a/._c.jpg", "Thumbs.db", ".DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "Thumbs.db").write_bytes(bytes.fromhex("d0cf11e0"))
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "nothing").mkdir()
    found = folders.scan(tmp_path)
    assert found.names == ("a/c.jpg", "b.PNG", "d.png/e.png")
    assert found.left_out == {
        folders.EMPTY: ("nothing/",),
        folders.HIDDEN: (".DS_Store", ".cache/", ".hidden.png", "@eaDir/", "__MACOSX/"),
        folders.NO_IMAGE: ("Thumbs.db", "a/notes.txt", "labels.json"),
    }
    notes = "\n".join(found.notes())
    assert f"{tmp_path}: left out 5 (hidden" in notes and ".cache/, .hidden.png, @eaDir/" in notes
    assert folders.shortened([str(i) for i in range(11)]).endswith("8, 9, ...")
    assert "left out 3 (no PNG, JPEG, WebP, BMP or TIFF): Thumbs.db, a/notes.txt, l" in notes
    # Only contents are skipped if hidden: the root itself may be a hidden folder.
    assert folders.scan(tmp_path / ".cache").names == ("x.png",)
    with pytest.raises(UserError, match="is not there"):
        folders.scan(tmp_path / "gone")
    with pytest.raises(UserError, match=r"holds no images \(\.png.*$"):
        folders.scan(tmp_path / "nothing")
    (tmp_path / "nothing" / "a.csv").write_text("x")
    with pytest.raises(UserError, match=r"holds no images .* left out 1 \(no PNG.*: a\.csv"):
        folders.scan(tmp_path / "nothing")


def test_unknown_suffixes_are_looked_into(tmp_path: Path) -> None:
    """Every format without a suffix, or with another suffix; and JPEG as .jfif."""
    image = Image.fromarray(np.zeros((3, 5, 3), np.uint8))
    formats = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
    for kind in formats:
        image.save(tmp_path / kind, format=kind)
        image.save(tmp_path / f"{kind}.dat", format=kind)
    image.save(tmp_path / "x.jfif", format="JPEG")
    image.save(tmp_path / "x.gif", format="GIF")
    (tmp_path / "text").write_text("BMP is a word, and this is text")
    (tmp_path / "none").write_bytes(b"")
    found = folders.scan(tmp_path)
    expected = {*formats, *(f"{kind}.dat" for kind in formats), "x.jfif"}
    assert set(found.names) == expected
    assert found.left_out == {folders.NO_IMAGE: ("none", "text", "x.gif")}
    headers = read_headers(tmp_path, found.names)
    assert {(h.height, h.width, h.channels) for h in headers.values()} == {(3, 5, 3)}


def test_links(tmp_path: Path) -> None:
    make_images(tmp_path / "store", [f"{c}/{i}.png" for c in "bc" for i in range(2)])
    root = make_images(tmp_path / "links", ["a/0.png"])
    for name in "bc":
        (root / name).symlink_to(tmp_path / "store" / name)
    (root / "a" / "1.png").symlink_to(root / "a" / "0.png")
    (root / "a" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "gone.png").symlink_to(tmp_path / "gone.png")
    found = folders.scan(root)
    assert found.names == ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "c/0.png", "c/1.png")
    assert found.left_out == {folders.LOOP: ("a/up/",), folders.BROKEN: ("gone.png", "self")}


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_may_not_be_opened(tmp_path: Path) -> None:
    make_images(tmp_path, ["a.png", "closed/b.png"])
    (tmp_path / "closed").chmod(0)
    try:
        assert left_out(tmp_path) == {folders.CLOSED: ("closed/",)}
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_pair_keys() -> None:
    for name, key in {
        "cat.png": "cat",
        "a/cat.JPG": "a/cat",
        "cat.night.jpg": "cat.night",
        "cat.night": "cat.night",
        "v1.5/x.jfif": "v1.5/x",
        "v1.5/2": "v1.5/2",
    }.items():
        assert folders.pair_key(name) == key
    forms = [unicodedata.normalize(form, "Käfer/ガ.png") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1] and len(set(map(folders.pair_key, forms))) == 1
    assert folders.by_key(Path("d"), ["b.png", "a.jpg"]) == {"a": "a.jpg", "b": "b.png"}
    with pytest.raises(UserError, match=r"d has both cat\.jpg and cat\.png"):
        folders.by_key(Path("d"), ["cat.jpg", "cat.png"])


def test_order_does_not_depend_on_the_form_of_names(tmp_path: Path) -> None:
    names = ["e1.png", "é.png", "ez.png", "f.png"]
    orders = []
    for form in ("NFC", "NFD"):
        root = make_images(tmp_path / form, [unicodedata.normalize(form, name) for name in names])
        orders.append([folders.nfc(name) for name in folders.scan(root).names])
    assert orders[0] == orders[1]


def test_class_order() -> None:
    assert folders.class_order(map(str, range(12))) == [str(i) for i in range(12)]
    assert folders.class_order(["10", "-2", "07", "7"]) == ["-2", "07", "7", "10"]
    assert folders.class_order(["10", "9", "x"]) == ["10", "9", "x"]
    assert folders.sub_folders(["10/a.png", "9/b.png"]) == ["9", "10"]
    assert folders.sub_folders(["10/a.png", "b.png"]) == []
    forms = [unicodedata.normalize(form, "ä") + f"/{form}.png" for form in ("NFC", "NFD")]
    assert folders.sub_folders(forms) == ["ä"]
