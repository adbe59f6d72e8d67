"""Many files at once: damaged files and unusual value ranges are reported."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from commands import make_images
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.core.images import read_header, read_image
from gan_jax.data.folders import scan
from gan_jax.data.image_files import damaged, map_files, range_notes, read_headers


def test_damaged_files_are_named(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(4)]
    make_images(tmp_path, names)
    for name in names[:3]:
        done, bad = map_files(names, lambda name: read_image(tmp_path / name))
        assert list(done) + list(bad) == names[len(bad) :] + names[: len(bad)]
        (tmp_path / name).write_bytes(b"garbage")
    _, bad = map_files(names, lambda name: read_image(tmp_path / name))
    assert "3 of the 4 images cannot be read: 0.png, 1.png, 2.png; the first" in str(
        damaged(bad, 4)
    )
    assert "none of the 3 images can be read: 0.png" in str(damaged(bad, 3))
    assert list(read_headers(tmp_path, names, "skip")) == ["3.png"]
    for some, how in ((names, "raise"), (names[:3], "skip")):
        with pytest.raises(UserError, match=r"of the \d images can"):
            read_headers(tmp_path, some, how)


def test_values_far_below_their_range_are_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(3):
        picture = draw.integers(0, 4096, (9, 9)).astype(np.uint16)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    make_images(tmp_path, ["grey.png"])
    names = scan(tmp_path).names
    (note,) = range_notes(tmp_path, names)
    assert "of 65,535 (in 3 looked at)" in note and "--config.data.white=4095" in note
    assert range_notes(tmp_path, names, white=4095) == []
    assert range_notes(tmp_path, ["grey.png"]) == []
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / "bright.png")
    assert range_notes(tmp_path, scan(tmp_path).names) == []


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_values_of_sixteen_bit_colours_are_said(colour: int, channels: int, tmp_path: Path) -> None:
    """RGB, RGBA and grey with alpha, for which Pillow keeps the upper 8 bits."""
    stored = np.full((4, 5, channels), 4095, ">u2")
    stored[..., 3 if channels == 4 else 1 if channels == 2 else 3 :] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        check = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + check
    (tmp_path / "x.png").write_bytes(content)
    assert read_header(tmp_path / "x.png").deep
    (note,) = range_notes(tmp_path, ["x.png"])
    assert "reach 3,855 of 65,535" in note and "convert them to 8 bit" in note
    with pytest.raises(UserError, match=r"x\.png holds 16-bit colours.*data\.white=4095"):
        read_image(tmp_path / "x.png", white=4095)
