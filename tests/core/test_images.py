"""Reading image files of all common kinds, and writing pictures."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from gan_jax.core import images
from gan_jax.core.errors import UserError
from gan_jax.platform.logs import set_up_logging

HEIGHT, WIDTH = 12, 20


def picture(channels: int) -> np.ndarray:
    """Return a smooth uint8 [H, W, C], which lossy formats change little."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [x * 12, y * 20, 255 - x * 6 - y * 8, 40 + x * 8]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def on_white(rgba: np.ndarray) -> np.ndarray:
    share = rgba[..., 3:].astype(np.float64) / 255
    return rgba[..., :3] * share + 255 * (1 - share)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".jpg", ".JPEG", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_formats(suffix: str, channels: int, tmp_path: Path) -> None:
    stored = picture(channels)
    path = tmp_path / f"x{suffix}"
    lossy = suffix in (".jpg", ".JPEG")
    if channels == 4 and (lossy or suffix == ".bmp"):
        pytest.skip("JPEG and Pillow's BMP have no transparency")
    image = Image.fromarray(stored[..., 0] if channels == 1 else stored)
    image.save(path, **({"quality": 95} if lossy else {"lossless": True}))
    read = images.read_image(path)
    if suffix == ".webp" and channels == 1:  # WebP has no grey mode: it is read as RGB
        read = images.to_channels(read, 1)
    assert read.dtype == np.uint8 and read.shape == stored.shape
    np.testing.assert_allclose(read.astype(int), stored, atol=16 if lossy else 0)
    for wanted in (1, 3, 4):
        assert images.read_image(path, wanted).shape == (HEIGHT, WIDTH, wanted)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = picture(4)
    rgba[:3, :, 3], rgba[3:6, :, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    read = images.read_image(tmp_path / "rgba.png", 3)
    np.testing.assert_allclose(read, on_white(rgba), atol=0.5)
    assert (read[:3] == 255).all() and (read[3:6] == rgba[3:6, :, :3]).all()
    grey_alpha = np.stack([rgba[..., 0], rgba[..., 3]], -1)
    Image.fromarray(grey_alpha).save(tmp_path / "la.png")
    as_rgba = np.concatenate([np.repeat(grey_alpha[..., :1], 3, -1), rgba[..., 3:]], -1)
    assert (images.read_image(tmp_path / "la.png") == as_rgba).all()
    read = images.read_image(tmp_path / "la.png", 1)
    np.testing.assert_allclose(read, on_white(as_rgba)[..., :1], atol=0.5)


def test_palettes(tmp_path: Path) -> None:
    palette = Image.fromarray(picture(3)).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    palette.save(tmp_path / "p.png")
    assert (images.read_image(tmp_path / "p.png") == expected).all()
    index = np.asarray(palette)
    palette.save(tmp_path / "clear.png", transparency=int(index[0, 0]))
    assert images.read_image(tmp_path / "clear.png").shape[-1] == 4
    clear = images.read_image(tmp_path / "clear.png", 3)
    gone = index == index[0, 0]
    assert (clear[gone] == 255).all() and (clear[~gone] == expected[~gone]).all()
    palette.save(tmp_path / "levels.png", transparency=bytes(range(0, 160, 10)))
    alpha = images.read_image(tmp_path / "levels.png")[..., 3]
    assert (alpha == 10 * index).all()


def test_grey_with_a_transparent_level(tmp_path: Path) -> None:
    grey = np.asarray([[0, 7], [7, 200]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "x.png", transparency=7)
    assert images.read_image(tmp_path / "x.png", 1)[..., 0].tolist() == [[0, 255], [255, 200]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit(suffix: str, tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((9, 11)) > 0.5
    Image.fromarray(bits).save(tmp_path / f"x{suffix}")
    read = images.read_image(tmp_path / f"x{suffix}")
    assert (read[..., 0] == bits * 255).all() and read.shape == (9, 11, 1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled(suffix: str, tmp_path: Path) -> None:
    stored = np.asarray([[0, 128, 129, 257], [32768, 40000, 65406, 65535]], np.uint16)
    Image.fromarray(stored).save(tmp_path / f"x{suffix}")
    read = images.read_image(tmp_path / f"x{suffix}")
    assert (read[..., 0] == np.rint(stored / 257)).all()
    assert images.read_image(tmp_path / f"x{suffix}", 3).shape == (2, 4, 3)


def test_sixteen_bits_big_endian(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    stored = np.asarray([[0, 257, 32768, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", stored, byteorder=">")
    assert images.read_image(tmp_path / "x.tif")[..., 0].tolist() == [[0, 1, 128, 255]]


def test_unknown_ranges_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif holds float pixels"):
        images.read_image(tmp_path / "float.tif")
    Image.fromarray(np.asarray([[0, 70000]], np.int32)).save(tmp_path / "int.tif")
    with pytest.raises(UserError, match=r"int\.tif holds 32-bit pixels"):
        images.read_image(tmp_path / "int.tif")


def test_cmyk(tmp_path: Path) -> None:
    image = Image.fromarray(picture(3)).convert("CMYK")
    image.save(tmp_path / "x.jpg", quality=95)
    read = images.read_image(tmp_path / "x.jpg")
    np.testing.assert_allclose(read.astype(int), picture(3), atol=24)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(suffix: str, orientation: int, tmp_path: Path) -> None:
    undo = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"lossless": True} if suffix == ".webp" else {"quality": 95}
    Image.fromarray(picture(3)).save(tmp_path / f"x{suffix}", exif=exif, **quality)
    read = images.read_image(tmp_path / f"x{suffix}")
    upright = undo[orientation](picture(3))
    assert read.shape == upright.shape
    np.testing.assert_allclose(read.astype(int), upright, atol=24 if suffix == ".jpg" else 0)
    if suffix == ".tif":  # in modes that Pillow would memory-map
        for channels in (1, 4):
            stored = picture(channels)
            image = Image.fromarray(stored[..., 0] if channels == 1 else stored)
            image.save(tmp_path / "x.tif", exif=exif)
            assert (images.read_image(tmp_path / "x.tif") == undo[orientation](stored)).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_truncated_files_are_named(suffix: str, tmp_path: Path) -> None:
    stored = io.BytesIO()
    Image.fromarray(picture(3)).save(stored, format=Image.registered_extensions()[suffix])
    whole = stored.getvalue()
    path = tmp_path / f"cut{suffix}"
    for size in (0, 1, 10, len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cannot read image .*cut\.\w+ \(.+on_error=skip"):
            images.read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of corrupt EXIF
def test_damage_ends_in_an_image_or_a_user_error(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    Image.fromarray(picture(3)).save(
        stored, format=Image.registered_extensions()[suffix], exif=exif
    )
    whole, draw = stored.getvalue(), random.Random(0)
    path = tmp_path / f"x{suffix}"
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(min(len(damaged), 300))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            assert images.read_image(path, 3).shape[-1] == 3
        except UserError as error:
            assert path.name in str(error)


def test_missing_and_odd_files(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(UserError, match=r"text\.png"):
        images.read_image(tmp_path / "text.png")
    with pytest.raises(UserError, match=r"gone\.png"):
        images.read_image(tmp_path / "gone.png")


def test_a_white_of_twelve_bits(tmp_path: Path) -> None:
    stored = np.asarray([[0, 1, 2048, 4094, 4095, 5000]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "x.png")
    assert images.read_image(tmp_path / "x.png").max() == 19
    read = images.read_image(tmp_path / "x.png", white=4095)
    assert read[0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]
    Image.fromarray(picture(1)[..., 0]).save(tmp_path / "8.png")  # `white` is ignored
    assert (images.read_image(tmp_path / "8.png", white=4095) == picture(1)).all()


def test_an_image_above_the_limit_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.save_png(tmp_path / "large.png", picture(3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 2 + 1)
    with warnings.catch_warnings(record=True) as warned:
        set_up_logging()  # between the limit and twice the limit: read without a warning
        assert (images.read_image(tmp_path / "large.png") == picture(3)).all()
    assert not warned
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 2 - 1)
    for read in (images.read_image, images.read_header):
        with pytest.raises(UserError, match=r"large\.png \(more than 238 pixels.*on_error=skip"):
            read(tmp_path / "large.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_header_says_what_is_read(suffix: str, tmp_path: Path) -> None:
    """Headers are read without decoding, for every mode and for an image rotated by its EXIF."""
    palette = Image.fromarray(picture(3)).quantize(16)
    modes = {"L": picture(1)[..., 0], "RGB": picture(3), "1": picture(1)[..., 0] > 100}
    if suffix != ".jpg":
        modes["RGBA"] = picture(4)
    if suffix in (".png", ".tif"):
        modes["deep"] = picture(1)[..., 0].astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, array in modes.items():
        for turned in (False, True):
            path = tmp_path / f"{mode}{turned}{suffix}"
            Image.fromarray(array).save(path, **({"exif": exif} if turned else {}))
            header = images.read_header(path)
            shape = header.height, header.width, header.channels
            assert shape == images.read_image(path).shape, path
            assert header.deep == (mode == "deep")
            if suffix in (".png", ".jpg"):  # truncate the pixels: the header must suffice
                path.write_bytes(path.read_bytes()[:-34])
                assert images.read_header(path) == header
                with pytest.raises(UserError, match="cannot read"):
                    images.read_image(path)
    if suffix == ".png":
        palette.save(tmp_path / "p.png")
        palette.save(tmp_path / "clear.png", transparency=0)
        channels = [images.read_header(tmp_path / name).channels for name in ("p.png", "clear.png")]
        assert channels == [3, 4]


def test_floats_and_back() -> None:
    every = np.arange(256, dtype=np.uint8)
    floats = images.to_float(every)
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[-1] == 1
    assert (images.to_uint8(floats) == every).all()
    assert images.to_uint8(np.asarray([-7.0, 7.0, 0.0])).tolist() == [0, 255, 128]


FITS: dict[str, Callable] = {
    "stretch": lambda image, size, method: image.resize(size, method),
    "crop": lambda image, size, method: ImageOps.fit(image, size, method),
    "pad": lambda image, size, method: ImageOps.pad(image, size, method, color="white"),
}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_resize_is_that_of_pillow(name: str, fit: str) -> None:
    for channels in (1, 3, 4):
        stored = picture(channels)
        image = Image.fromarray(stored[..., 0] if channels == 1 else stored)
        for height, width in ((5, 7), (24, 16)):
            expected = np.asarray(FITS[fit](image, (width, height), Image.Resampling[name.upper()]))
            got = images.resize_image(stored, (height, width), resize=name, fit=fit)
            assert got.shape == (height, width, channels)
            assert (got == expected.reshape(got.shape)).all()


def test_fits_keep_what_they_say() -> None:
    wide = np.zeros((10, 30, 1), np.uint8)
    wide[:, 10:20] = 200
    assert (images.resize_image(wide, (10, 10), fit="crop") == 200).all()
    padded = images.resize_image(wide, (30, 30), fit="pad")
    assert (padded[:10] == 255).all() and (padded[20:] == 255).all()
    assert (padded[10:20] == wide).all()
    thin = np.full((2, 80, 3), 200, np.uint8)  # resized to 0.2 pixels of height
    assert (images.resize_image(thin, (8, 8), fit="pad") == 200).all(2).sum() == 8
    assert images.resize_image(wide, (10, 30)) is wide


def test_preprocess() -> None:
    how = dict(size=[6, 8], channels=3, resize="box", fit="stretch")
    made = images.preprocess(picture(4), how)
    expected = images.resize_image(images.to_channels(picture(4), 3), (6, 8), resize="box")
    assert made.shape == (6, 8, 3) and (made == expected).all()


def test_grid_layout() -> None:
    levels = np.arange(6).reshape(2, 3)
    small = np.broadcast_to(
        images.to_float(levels.astype(np.uint8))[..., None, None, None], (2, 3, 4, 5, 3)
    )
    sheet = images.grid(small, gap=2, least=10)  # twice as large: 8 x 10
    assert sheet.shape == (2 + 2 * (8 + 2), 2 + 3 * (10 + 2), 3) and sheet.dtype == np.uint8
    assert (sheet[:2] == 255).all() and (sheet[:, :2] == 255).all() and (sheet[-2:] == 255).all()
    for row in range(2):
        for column in range(3):
            top, left = 2 + row * 10, 2 + column * 12
            assert (sheet[top : top + 8, left : left + 10] == levels[row, column]).all()
            assert (sheet[top + 8 : top + 10] == 255).all()
    for channels in (1, 4):
        large = images.grid(np.zeros((1, 1, 50, 60, channels), np.float32))
        assert large.shape == (54, 64, channels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_save_png(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.png"
    metadata = {"run": "läuft/実験", "step": "12"}
    images.save_png(path, picture(channels), metadata)
    assert (images.read_image(path) == picture(channels)).all()
    with Image.open(path) as image:
        assert image.text == metadata
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_save_png_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    images.save_png(path, picture(3))
    before = path.read_bytes()

    def half(self: Image.Image, file: io.BufferedWriter, **kwargs: object) -> None:
        file.write(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space"):
        images.save_png(path, picture(1))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
