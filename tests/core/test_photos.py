"""Photos with their depth, profile and transparency: what is written is what was read."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from gan_jax.core import photos
from gan_jax.core.errors import UserError
from gan_jax.core.images import read_image, to_float
from gan_jax.core.photos import Photo, read_photo, to_levels, write_photo


def picture(channels: int) -> np.ndarray:
    """Return a smooth uint8 [12, 20, C], which lossy formats change little."""
    y, x = np.mgrid[0:12, 0:20]
    planes = [x * 12, y * 20, 255 - x * 6 - y * 8, 40 + x * 8]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def deep(channels: int) -> np.ndarray:
    """Return uint16 [H, W, C] that uses the lower bits."""
    lower = np.random.default_rng(channels).integers(0, 200, (12, 20, channels))
    return (picture(channels).astype(int) * 257 // 2 + lower).astype(np.uint16)


@functools.cache  # it holds the time of its creation
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits(suffix: str, channels: int, tmp_path: Path) -> None:
    lossy = suffix in (".webp", ".jpg")
    path, alpha = tmp_path / f"x{suffix}", np.arange(240, dtype=np.uint8).reshape(12, 20)
    stored = Photo(picture(channels), None, srgb())
    write_photo(path, stored)
    read = read_photo(path, channels)
    assert read.icc == (srgb() if channels == 3 else None)  # a profile of colours is not for grey
    assert read.alpha is None and read.pixels.dtype == np.uint8
    np.testing.assert_allclose(read.pixels.astype(int), stored.pixels, atol=16 if lossy else 0)
    write_photo(path, Photo(stored.pixels, alpha))
    read = read_photo(path, channels)
    if suffix == ".jpg":  # on white
        share = alpha[..., None] / 255
        expected = stored.pixels * share + 255 * (1 - share)
        assert read.alpha is None
        np.testing.assert_allclose(read.pixels, expected, atol=16)
    else:
        np.testing.assert_array_equal(read.alpha, alpha)
        if not lossy:
            np.testing.assert_array_equal(read.pixels, stored.pixels)


def test_jpeg_keeps_the_resolution_of_colours(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    write_photo(tmp_path / "x.jpg", Photo(draw))
    with Image.open(tmp_path / "x.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_of_an_eight_bit_file_training_reads_the_same(tmp_path: Path) -> None:
    Image.fromarray(picture(4)).save(tmp_path / "rgba.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(3)).save(tmp_path / "turned.jpg", exif=exif, icc_profile=srgb())
    Image.fromarray(picture(3)).quantize(8).save(tmp_path / "palette.png")
    for name in ("rgba.png", "turned.jpg", "palette.png"):
        path = tmp_path / name
        for channels in (1, 3, 4):
            flat = read_photo(path, channels, flat=True)
            np.testing.assert_array_equal(flat.pixels, read_image(path, channels))
            assert flat.alpha is None and flat.coloured
    apart = read_photo(tmp_path / "rgba.png", 3)
    np.testing.assert_array_equal(apart.pixels, picture(4)[..., :3])
    np.testing.assert_array_equal(apart.alpha, picture(4)[..., 3])
    write_photo(tmp_path / "upright.jpg", read_photo(tmp_path / "turned.jpg", 3))
    with Image.open(tmp_path / "upright.jpg") as image:
        assert image.size == (12, 20) and not image.getexif()
        assert image.info["icc_profile"] == srgb()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits(suffix: str, channels: int, alpha: bool, tmp_path: Path) -> None:
    """Every level survives, and other libraries read the same."""
    tifffile = pytest.importorskip("tifffile")
    pixels = deep(channels)
    photo = Photo(pixels, deep(1)[..., 0] if alpha else None, srgb() if channels == 3 else None)
    path = tmp_path / f"x{suffix}"
    write_photo(path, photo, {"run": "r"})
    with Image.open(path) as image:
        assert image.size == (20, 12) and image.info.get("icc_profile") == photo.icc
        if suffix == ".png":
            assert image.text == {"run": "r"}
        if channels == 3 or alpha:  # Pillow sees the upper bits
            upper = np.asarray(image.convert("RGBA" if alpha else "RGB"))
            np.testing.assert_allclose(
                upper[..., :3], np.broadcast_to(pixels, (12, 20, 3)) / 257, atol=1
            )
    whole = pixels if photo.alpha is None else np.dstack([pixels, photo.alpha])
    if suffix == ".tif":
        stored = tifffile.imread(path).reshape(12, 20, -1)
        grey = channels == 1 and alpha  # written as RGBA
        np.testing.assert_array_equal(stored[..., [0, 3]] if grey else stored, whole)
    elif channels == 3 or alpha:
        pytest.importorskip("png")
    if channels == 1 and not alpha:
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), pixels[..., 0])
    read = read_photo(path, channels, bits=16)
    assert read.pixels.dtype == np.uint16 and read.icc == photo.icc
    np.testing.assert_array_equal(read.pixels, pixels)
    if alpha:
        np.testing.assert_array_equal(read.alpha, photo.alpha)
    other = read_photo(path, 4 - channels, bits=16)
    grey = pixels.astype(float) @ [0.299, 0.587, 0.114] if channels == 3 else pixels
    np.testing.assert_allclose(
        other.pixels, np.broadcast_to(grey.reshape(12, 20, 1), other.pixels.shape), atol=1
    )
    assert read_photo(path, 4, bits=16).pixels.shape == (12, 20, 4)


def test_sixteen_bits_upright_and_scaled(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = deep(1)[..., 0]
    for suffix in (".png", ".tif"):
        Image.fromarray(grey).save(tmp_path / f"x{suffix}", exif=exif)
        read = read_photo(tmp_path / f"x{suffix}", 1, bits=16)
        np.testing.assert_array_equal(read.pixels[..., 0], np.rot90(grey, -1))
    Image.fromarray(np.asarray([[0, 2048, 4095, 5000]], np.uint16)).save(tmp_path / "x.png")
    read = read_photo(tmp_path / "x.png", 1, bits=16, white=4095)
    assert read.pixels.ravel().tolist() == [0, 32776, 65535, 65535]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_of_arrays(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(3)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(
        photos._upright(picture(3), orientation), read_image(tmp_path / "x.png")
    )


def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "x.png", Photo(deep(3)))

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"x\.png: --bits=16 .*pip install pypng"):
        read_photo(tmp_path / "x.png", 3, bits=16)
    with pytest.raises(UserError, match=r"y\.tif: --bits=16 .*pip install tifffile"):
        write_photo(tmp_path / "y.tif", Photo(deep(3)))
    assert read_photo(tmp_path / "x.png", 3).pixels.dtype == np.uint8
    for name, says in (("x.jpg", "JPEG has 8"), ("x.bmp", "by its suffix")):
        with pytest.raises(UserError, match=says):
            write_photo(tmp_path / name, Photo(deep(3)))


def test_damage_is_named(tmp_path: Path) -> None:
    pytest.importorskip("png")
    write_photo(tmp_path / "x.png", Photo(deep(3)))
    content = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot read image .*x\.png"):
        read_photo(tmp_path / "x.png", 3, bits=16)


def test_levels() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    floats = every.astype(np.float64) / 32767.5 - 1
    assert (to_levels(floats, 16) == every).all() and to_levels(floats, 16).dtype == np.uint16
    assert (to_levels(to_float(np.arange(256, dtype=np.uint8)), 16) == np.arange(256) * 257).all()
    assert to_levels(np.asarray([-7.0, 7.0]), 16).tolist() == [0, 65535]


def test_planes_are_resized_as_pillow_does() -> None:
    plane = picture(1)[..., 0]
    expected = Image.fromarray(plane).resize((40, 24), Image.Resampling.BICUBIC)
    made = photos.resize_plane(plane, (24, 40))
    np.testing.assert_allclose(made.astype(int), np.asarray(expected), atol=1)
    wide = photos.resize_plane(plane.astype(np.uint16) * 257, (24, 40))
    np.testing.assert_allclose(wide / 257, made, atol=0.51)
    assert photos.resize_plane(plane, (12, 20)) is plane
