"""Photos as people keep them: read and written with their depth, colour profile and transparency.

Training reads images by `gan_jax.core.images.read_image`; of an 8-bit file without transparency
`read_photo` returns the same pixels.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from gan_jax.core.errors import UserError
from gan_jax.core.files import written_whole
from gan_jax.core.images import is_deep, opened, read_image, text_chunks, to_channels, to_uint8

FORMATS = {
    ".png": "PNG",
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jif", ".jfif"), "JPEG"),
    ".webp": "WEBP",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
}
DEEP_FORMATS = ("PNG", "TIFF")  # those that hold 16 bits per channel
QUALITY = 95  # of JPEG and WebP
# JPEG without subsampling of the colours (4:4:4).
_OPTIONS = {"JPEG": {"quality": QUALITY, "subsampling": 0}, "WEBP": {"quality": QUALITY}}
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # as Pillow converts to grey (BT.601)
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo, upright.

    Attributes:
      pixels: uint8 or uint16 [H, W, C], C = 1, 3 or 4.
      alpha: its transparency, [H, W] of the same type; None if it has none, or in `pixels`.
      icc: its ICC profile; None if it has none.
      coloured: whether its file has colours.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    coloured: bool = False


def read_photo(
    path: Path, channels: int, *, bits: int = 8, white: int = 0, flat: bool = False
) -> Photo:
    """Read a photo, rotated by its EXIF orientation.

    Args:
      path: as in `read_image`.
      channels: 1 or 3, and transparency is kept apart; or 4.
      bits: 16 keeps the depth of files that have 16 bits per channel; of colours this needs pypng
        (PNG) or tifffile (TIFF). Others are read with 8.
      white: as in `read_image`.
      flat: whether transparency is blended onto white, as in training.

    Raises:
      UserError: the file (named in the message) cannot be read completely, or not with 16 bits.
    """
    with opened(path) as stored:
        icc = stored.info.get("icc_profile") or None
        deep, grey = is_deep(stored), stored.mode.startswith(("I", "F"))
        kind, turn = stored.format, Image.Image.getexif(stored).get(ExifTags.Base.Orientation, 1)
    if bits == 16 and deep:
        library = None if grey else _library(path, kind)
        with opened(path) as stored:  # which names the file in any error
            if grey:
                array = _scaled(np.asarray(ImageOps.exif_transpose(stored))[..., None], white)
            else:
                array = _upright(_read_deep(path, library), turn)
    else:
        array = read_image(path, white=white)
    there = array.shape[-1]
    alpha, colours = (array[..., -1], array[..., :-1]) if there in (2, 4) else (None, array)
    coloured = colours.shape[-1] == 3
    if array.dtype == np.uint8 and (flat or channels == 4):
        return Photo(to_channels(array, channels), None, icc, coloured)
    if channels == 4:
        full = np.full(array.shape[:2], 2**16 - 1, np.uint16) if alpha is None else alpha
        pixels = np.concatenate([_to_channels(colours, 3), full[..., None]], -1)
        return Photo(pixels, None, icc, coloured)
    return Photo(_to_channels(colours, channels), alpha, icc, coloured)


def to_levels(images: np.ndarray, bits: int) -> np.ndarray:
    """Map float [-1, 1] (clipped) to the nearest uint8 or, with 16 bits, uint16."""
    if bits == 8:
        return to_uint8(images)
    scaled = (np.asarray(images, np.float32) + 1) * np.float32(32767.5)
    return np.clip(np.rint(scaled), 0, 65535).astype(np.uint16)


def resize_plane(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 or uint16 [H, W] to (height, width) with Pillow's bicubic filter."""
    if plane.shape == tuple(size):
        return plane
    picture = Image.fromarray(plane.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.rint(np.asarray(picture)), 0, np.iinfo(plane.dtype).max).astype(plane.dtype)


def photo_format(path: Path, bits: int = 8) -> str:
    """Return the format that a file's suffix stands for.

    Raises:
      UserError: none that is written, or none of that depth; or tifffile is needed and missing.
    """
    kind = FORMATS.get(path.suffix.lower(), "")
    if not kind:
        raise UserError(f"--output={path}: PNG, JPEG, WebP or TIFF, by its suffix, or a folder")
    if bits == 16 and kind not in DEEP_FORMATS:
        raise UserError(f"--bits=16 with --output={path}: {kind} has 8, name a PNG or TIFF file")
    if bits == 16 and kind == "TIFF":
        _library(path, kind)
    return kind


def write_photo(path: Path, photo: Photo, metadata: Mapping[str, str] | None = None) -> None:
    """Write a photo atomically; the suffix decides the format.

    JPEG has no transparency: there it lies on white.

    Args:
      path: the file to write; its folder is created if need be.
      photo: with 16 bits for PNG and TIFF only.
      metadata: text chunks of a PNG.
    """
    pixels = photo.pixels
    kind = photo_format(path, 8 * pixels.dtype.itemsize)
    icc = photo.icc if photo.icc and _describes(photo.icc, pixels.shape[-1]) else None
    if photo.alpha is not None:
        pixels = np.concatenate([pixels, photo.alpha[..., None]], -1)
    if kind == "JPEG" and pixels.shape[-1] in (2, 4):
        rgba = np.concatenate([_to_channels(pixels[..., :-1], 3), pixels[..., -1:]], -1)
        pixels = to_channels(rgba, 3 if pixels.shape[-1] == 4 else 1)
    with written_whole(path) as file:
        if pixels.dtype == np.uint16 and kind == "PNG":
            _write_deep_png(file, pixels, icc, metadata or {})
        elif pixels.dtype == np.uint16:
            if pixels.shape[-1] == 2:  # Pillow does not open such a TIFF
                pixels = np.concatenate([pixels[..., [0, 0, 0]], pixels[..., 1:]], -1)
            colours = "minisblack" if pixels.shape[-1] == 1 else "rgb"
            extra = ["unassalpha"] if pixels.shape[-1] == 4 else []
            plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            given = dict(photometric=colours, extrasamples=extra, iccprofile=icc, metadata=None)
            stored = io.BytesIO()  # tifffile wants a named file, or none
            _library(path, kind).imwrite(stored, plain, **given)
            file.write(stored.getbuffer())
        else:
            image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            given = {"icc_profile": icc} if icc else {}
            if kind == "PNG":
                given["pnginfo"] = text_chunks(metadata or {})
            image.save(file, format=kind, **_OPTIONS.get(kind, {}), **given)


def _write_deep_png(
    file: BinaryIO, pixels: np.ndarray, icc: bytes | None, metadata: Mapping[str, str]
) -> None:
    """Write uint16 [H, W, 1 to 4], which Pillow does for grey only (ISO/IEC 15948:2004)."""
    height, width, channels = pixels.shape
    lines = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(height, -1)
    differences = lines.copy()
    differences[1:] -= lines[:-1]  # filter type 2, "up"
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), differences], 1)
    put = PngImagePlugin.putchunk
    file.write(b"\x89PNG\r\n\x1a\n")
    put(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[channels], 0, 0, 0))
    if icc:
        put(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    for chunk in text_chunks(metadata).chunks:
        put(file, *chunk[:2])
    put(file, b"IDAT", zlib.compress(rows.tobytes()))
    put(file, b"IEND", b"")


def _read_deep(path: Path, library: ModuleType) -> np.ndarray:
    """Read 16-bit colours, of which Pillow reads the upper 8 bits: uint16 [H, W, 3 or 4]."""
    if library.__name__ == "png":
        with path.open("rb") as file:
            width, height, rows, about = library.Reader(file=file).asDirect()
            array = np.stack([np.asarray(row, np.uint16) for row in rows])
        return array.reshape(height, width, about["planes"])
    array = library.imread(path)
    if array.ndim == 3 and array.shape[-1] not in (2, 3, 4):  # a plane per channel
        array = np.moveaxis(array, 0, -1)
    if array.dtype != np.uint16 or array.ndim != 3 or array.shape[-1] not in (2, 3, 4):
        raise UserError(f"{array.dtype} of shape {array.shape}, not 16-bit colours")
    return array


def _library(path: Path, kind: str | None) -> ModuleType:
    name, package = ("png", "pypng") if kind == "PNG" else ("tifffile", "tifffile")
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"{path}: --bits=16 of this {kind} file needs {package}: pip install {package}, or"
            " leave --bits out"
        ) from None


def _scaled(grey: np.ndarray, white: int) -> np.ndarray:
    """Scale 16-bit grey so that `white` (0: 65535) becomes 65535."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() >= 2**16:
        raise UserError("pixels of unknown range: convert it to 8 or 16 bit")
    white = white or 2**16 - 1
    wide = np.minimum(grey.astype(np.int64), white) * (2**16 - 1)
    return ((2 * wide + white) // (2 * white)).astype(np.uint16)


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return [H, W, C], rotated by an EXIF orientation from 1 to 8."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _to_channels(colours: np.ndarray, channels: int) -> np.ndarray:
    """Convert uint8 or uint16 [H, W, 1 or 3] to 1 or 3 channels, as `to_channels` does."""
    if colours.dtype == np.uint8:
        return to_channels(np.ascontiguousarray(colours), channels)
    if colours.shape[-1] == channels:
        return colours
    if channels == 3:
        return np.repeat(colours, 3, -1)
    return np.rint(colours.astype(np.float32) @ _LUMA)[..., None].astype(np.uint16)


def _describes(icc: bytes, channels: int) -> bool:
    """Return whether a profile is for pixels of that many colours (ICC.1, header bytes 16-19)."""
    return icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ")
