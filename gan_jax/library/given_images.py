"""Convert images given as Python arrays to model input."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.core.images import picture_array, preprocess, read_image, to_float
from gan_jax.core.places import place
from gan_jax.core.spec import DataSpec

logger = logging.getLogger(__name__)

_ROUNDING = 1e-3  # tolerance outside [-1, 1], for rounding errors of the caller


def as_arrays(images: Any) -> tuple[list[np.ndarray], str]:
    """Return images given in Python as arrays [H, W, C], all uint8 or all floats in [-1, 1].

    Args:
      images: one image: an array [H, W, C] or grey [H, W], a Pillow image, or the path of a file;
        a list of these, of any sizes; or an array [N, H, W, C].

    Returns:
      (arrays, "one", "list" or "array").

    Raises:
      UserError: another shape or type, or floats outside [-1, 1].
    """
    if isinstance(images, (str, Path, Image.Image)):
        kind, given = "one", [images]
    elif isinstance(images, np.ndarray) or hasattr(images, "__array__"):
        whole = np.asarray(images)
        kind, given = ("one", [whole]) if whole.ndim in (2, 3) else ("array", list(whole))
        if whole.ndim not in (2, 3, 4):
            raise UserError(
                f"images of shape {whole.shape}: [height, width, channels], or [N, height, width,"
                " channels], N >= 1"
            )
    else:
        kind, given = "list", list(images)
    if not given:
        raise UserError("no images were given: [N, height, width, channels], N >= 1")
    arrays = [_array(i, image) for i, image in enumerate(given)]
    types = {image.dtype for image in arrays}
    if types == {np.dtype(np.uint8)}:
        return arrays, kind
    if any(type.kind != "f" for type in types):
        raise UserError(
            f"images of {', '.join(sorted(map(str, types)))}: uint8 in [0, 255], or floats in"
            " [-1, 1]"
        )
    _check_range(arrays)
    return [image.astype(np.float32, copy=False) for image in arrays], kind


def _array(i: int, image: Any) -> np.ndarray:
    """Return image `i`, however it is given, as [H, W, C]."""
    if isinstance(image, (str, Path)):
        return read_image(place(image))
    if isinstance(image, Image.Image):
        return picture_array(image)
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not array.size or array.shape[-1] not in (1, 3, 4):
        raise UserError(
            f"image {i} has shape {array.shape}: [height, width, channels] with 1, 3 or 4 channels"
        )
    return array


def model_images(images: Any, spec: DataSpec, stream: str) -> tuple[np.ndarray, str]:
    """Return images as float32 [N, H, W, C] in [-1, 1], of the size in `spec`, and their kind.

    Args:
      images: as in `as_arrays`: uint8 of any size and channels, or floats of the model's own size.
      spec: spec of the data that the model was trained on.
      stream: the stream of `spec` that the images belong to.

    Raises:
      UserError: another shape or type, or floats outside [-1, 1].
    """
    shape = tuple(spec.streams[stream].shape)
    given, kind = as_arrays(images)
    return np.stack([to_model(fixed_size(x, shape, spec.preprocess)) for x in given]), kind


def fixed_size(
    image: np.ndarray, shape: tuple[int, int, int], preprocess_as: Mapping[str, Any]
) -> np.ndarray:
    """Return an image in the size and channels of `shape`, resized as in training.

    Args:
      image: [H, W, C]: uint8 of any size, or float of the shape itself.
      shape: (height, width, channels) of the result.
      preprocess_as: `DataSpec.preprocess`.

    Raises:
      UserError: floats of another shape.
    """
    if image.dtype == np.uint8:
        how = {**preprocess_as, "size": shape[:2], "channels": shape[2]}
        return preprocess(image, how)
    if image.shape != shape:
        raise UserError(
            f"float images of shape {image.shape}: this model takes {shape};"
            " give uint8 images to have them resized"
        )
    return image


def to_model(pixels: np.ndarray) -> np.ndarray:
    """Map uint8 or uint16 over their whole range to float32 [-1, 1]; floats are returned as is."""
    if pixels.dtype == np.uint8:
        return to_float(pixels)
    if pixels.dtype == np.uint16:
        return pixels.astype(np.float32) * np.float32(2 / 65535) - np.float32(1)
    return pixels


def _check_range(images: Sequence[np.ndarray]) -> None:
    """Raise UserError for values outside [-1, 1], and warn if the range looks like [0, 1]."""
    low = float(np.min([image.min() for image in images]))  # NaN if there is any
    high = float(np.max([image.max() for image in images]))
    if not (low >= -1 - _ROUNDING and high <= 1 + _ROUNDING):
        fix = (
            "give them as uint8"
            if low >= 0 and high > 2
            else "map them there, such as [0, 1] by 2 * images - 1"
        )
        raise UserError(f"float images in [{low:.4g}, {high:.4g}]: floats are in [-1, 1]; {fix}")
    if low >= 0:
        logger.warning(
            "float images in [%.4g, %.4g], none below 0: floats are in [-1, 1], where 0 is grey;"
            " [0, 1] is mapped there by 2 * images - 1",
            *(low, high),
        )
