"""Read, convert and write images; only here and in data/ are they uint8 in [0, 255]."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from gan_jax.core.errors import UserError
from gan_jax.core.files import written_whole

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_float(images: np.ndarray) -> np.ndarray:
    """Map uint8 [0, 255] to float32 [-1, 1]."""
    return images.astype(np.float32) * np.float32(2 / 255) - np.float32(1)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Map float [-1, 1] (clipped) to the nearest uint8 [0, 255]."""
    scaled = (np.asarray(images, np.float32) + 1) * 127.5
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Header:
    """The size and type of an image file.

    Attributes:
      height, width: [px], after rotation by the EXIF orientation.
      channels: 1, 3 or 4, as returned by `read_image`.
      deep: whether the file has 16 bits per channel.
    """

    height: int
    width: int
    channels: int
    deep: bool


def read_header(path: Path) -> Header:
    """Read the header of an image file; pixels are not decoded.

    Raises:
      UserError: the file (named in the message) is not an image.
    """
    with opened(path) as picture:
        exif = Image.Image.getexif(picture)  # PNG's own method decodes the pixels first
        turned = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        if picture.format == "TIFF":  # Pillow has already swapped its size
            turned = False
        width, height = picture.size[::-1] if turned else picture.size
        grey = picture.mode.startswith(("I", "F"))
        channels = 1 if grey else {"L": 1, "RGB": 3, "RGBA": 4}[_mode(picture)]
        return Header(height, width, channels, is_deep(picture))


def read_peak(path: Path) -> int:
    """Return the largest value in a 16-bit file, in [0, 65535]; for colour files to within 256."""
    with opened(path) as picture:
        array = np.asarray(picture)
        if picture.mode.startswith("I"):
            return int(array.max())
        # Alpha is excluded: it usually reaches the maximum.
        opaque = array[..., :-1] if "A" in picture.getbands() else array
        return int(opaque.max()) * 257


def read_image(path: Path, channels: int = 0, *, white: int = 0) -> np.ndarray:
    """Read an image file, rotated by its EXIF orientation.

    Args:
      path: PNG, JPEG, WebP, BMP or TIFF; grey, RGB, RGBA or palette; 16-bit is scaled to 8.
      channels: 1, 3 or 4, see `to_channels`; 0 keeps the stored ones.
      white: value of a 16-bit grey file that becomes 255, such as 4095 for 12-bit data; larger
        values are clipped. 0 means 65535.

    Returns:
      uint8 [H, W, C].

    Raises:
      UserError: the file (named in the message) cannot be read completely.
    """
    with opened(path) as stored:
        colour = is_deep(stored) and not stored.mode.startswith(("I", "F"))
        array = _pixels(stored)
    if colour and white:
        raise UserError(
            f"image {path} holds 16-bit colours, of which Pillow reads the upper 8 bits:"
            f" data.white={white} is for grey files, convert it to 8 bit"
        )
    return to_channels(_eight_bits(array, f"image {path}", white), channels)


def picture_array(picture: Image.Image) -> np.ndarray:
    """Return a Pillow image as `read_image` returns a file: uint8 [H, W, C], upright.

    Raises:
      UserError: pixels of unknown range.
    """
    return _eight_bits(_pixels(picture), f"this {picture.mode} image", 0)


def _pixels(picture: Image.Image) -> np.ndarray:
    """Return a picture as Pillow's array, upright, in an 8-bit mode unless it is deep grey."""
    picture = ImageOps.exif_transpose(picture)
    if not picture.mode.startswith(("I", "F")):
        picture = picture.convert(_mode(picture))
    return np.asarray(picture)


def _eight_bits(array: np.ndarray, what: str, white: int) -> np.ndarray:
    """Return Pillow's array as uint8 [H, W, C]; 16 bits are scaled from [0, white]."""
    if array.dtype == np.uint8:
        return array if array.ndim == 3 else array[..., None]
    if array.dtype.kind == "f" or array.min() < 0 or array.max() >= 2**16:
        kind = "float" if array.dtype.kind == "f" else "32-bit"
        raise UserError(f"{what} holds {kind} pixels of unknown range: convert it to 8 or 16 bit")
    white = white or 2**16 - 1  # 16 bits: Pillow would clip at 255, not scale
    wide = np.minimum(array.astype(np.int64), white)[..., None]
    return ((wide * 510 + white) // (2 * white)).astype(np.uint8)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image with Pillow; any exception raised in the block becomes a UserError."""
    try:
        # Pass an open file, not its name: Pillow memory-maps an uncompressed TIFF given by name,
        # and scrambles it if its EXIF orientation is a rotation (Pillow 13.0).
        with path.open("rb") as file, Image.open(file) as picture:
            yield picture
    except Image.DecompressionBombError:
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise UserError(
            f"cannot read image {path} (more than {most:,} pixels, Pillow's limit against files"
            f" that fill the memory): make it smaller, {_LEAVE_OUT}"
        ) from None
    except Exception as error:  # damaged files make Pillow raise exceptions of nearly every type
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"cannot read image {path} ({reason}): replace it, delete it, {_LEAVE_OUT}"
        ) from None


_LEAVE_OUT = "or at training leave such files out with --config.data.on_error=skip"


def _mode(picture: Image.Image) -> str:
    """Return the 8-bit mode that keeps all channels of a picture: "L", "RGB" or "RGBA"."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        return "RGBA"
    return "L" if picture.mode in ("1", "L") else "RGB"


def is_deep(picture: Image.Image) -> bool:
    """Return whether a picture's file has 16 bits per channel."""
    # For colour the mode does not tell: it is "RGB" even if Pillow drops the lower 8 bits.
    return picture.mode.startswith("I") or any(";16" in str(tile[3]) for tile in picture.tile)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Convert uint8 [H, W, 1 | 3 | 4] to `channels` (0: unchanged); alpha is blended onto white."""
    there = image.shape[-1]
    if channels in (0, there):
        return image
    if there == 4:
        alpha = image[..., 3:].astype(np.uint16)
        white = image[..., :3] * alpha + 255 * (255 - alpha)
        return to_channels(((white + 127) // 255).astype(np.uint8), channels)
    picture = Image.fromarray(image[..., 0] if there == 1 else image).convert(_MODES[channels])
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def resize_image(
    image: np.ndarray, size: tuple[int, int], *, resize: str = "bicubic", fit: str = "stretch"
) -> np.ndarray:
    """Resize uint8 [H, W, C] with a Pillow filter, antialiased when it shrinks the image.

    Args:
      image: any size.
      size: (height, width) of the result [px].
      resize: "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos".
      fit: how another aspect ratio is handled: "stretch"; "crop" keeps the centre; "pad" adds
        white.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    method = Image.Resampling[resize.upper()]
    if fit == "crop":
        picture = ImageOps.fit(picture, (width, height), method=method)
    elif fit == "pad":
        white = 255 if image.shape[-1] == 1 else (255,) * image.shape[-1]
        # Pillow's rounding, but at least 1: an image of 0 pixels is an error in Pillow 12 and comes
        # out all white in 13.
        tall, wide = image.shape[0] / image.shape[1], image.shape[1] / image.shape[0]
        inner = (width, max(1, round(tall * width)))
        if wide < width / height:
            inner = (max(1, round(wide * height)), height)
        picture = picture.resize(inner, method)
        picture = ImageOps.pad(picture, (width, height), method=method, color=white)
    else:
        picture = picture.resize((width, height), method)
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def preprocess(image: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """Convert a stored image to the model's size and channels.

    Args:
      image: uint8 [H, W, C], any size and number of channels.
      how: `DataSpec.preprocess`, with size, channels, resize and fit.

    Returns:
      uint8 [size..., channels]; with fit "windows" of its own size.
    """
    image = to_channels(image, how["channels"])
    if how["fit"] == "windows":  # photographs at full resolution, see data/windows.py
        return image
    return resize_image(image, tuple(how["size"]), resize=how["resize"], fit=how["fit"])


def grid(images: np.ndarray, *, gap: int = 2, least: int = 48) -> np.ndarray:
    """Lay images out in rows and columns on white.

    Args:
      images: [rows, columns, H, W, C] float in [-1, 1].
      gap: between the images [px].
      least: images narrower than this [px] are enlarged by an integer factor.

    Returns:
      uint8 [H', W', C].
    """
    rows, columns, _, width, channels = images.shape
    factor = max(1, least // width)
    pixels = to_uint8(images).repeat(factor, axis=2).repeat(factor, axis=3)
    padded = np.pad(
        pixels, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255
    ).transpose(0, 2, 1, 3, 4)
    sheet = padded.reshape(rows * padded.shape[1], columns * padded.shape[3], channels)
    return np.pad(sheet, ((gap, 0), (gap, 0), (0, 0)), constant_values=255)


def save_png(path: Path, picture: np.ndarray, metadata: Mapping[str, str] | None = None) -> None:
    """Write a PNG atomically.

    Args:
      path: the file to write; its folder is created if need be.
      picture: uint8 [H, W, C].
      metadata: text chunks, such as the run, step and seed that made the picture.
    """
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    with written_whole(path) as file:
        image.save(file, format="PNG", pnginfo=text_chunks(metadata or {}))


def text_chunks(metadata: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Return text chunks of a PNG."""
    text = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        text.add_text(key, value)
    return text
