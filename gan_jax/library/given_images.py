"""Convert images given as Python arrays to model input."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.images import preprocess, to_float
from gan_jax.core.spec import DataSpec

logger = logging.getLogger(__name__)

_ROUNDING = 1e-3  # tolerance outside [-1, 1], for rounding errors of the caller


def model_images(
    images: np.ndarray | Sequence[np.ndarray], spec: DataSpec, stream: str
) -> np.ndarray:
    """Return images as float32 [N, H, W, C] in [-1, 1], of the size in `spec`.

    Args:
      images: [N, H, W, C], or a list of [H, W, C] or grey [H, W], whose sizes may differ: uint8 of
        any size and channels, or floats in [-1, 1] of the model's own size.
      spec: spec of the data that the model was trained on.
      stream: the stream of `spec` that the images belong to.

    Raises:
      UserError: another shape or type, or floats outside [-1, 1].
    """
    whole = isinstance(images, np.ndarray) or hasattr(images, "__array__")
    given = [np.asarray(image) for image in (np.asarray(images) if whole else images)]
    if whole and np.ndim(images) != 4:
        raise UserError(f"images of shape {np.shape(images)}: [N, height, width, channels], N >= 1")
    if not given:
        raise UserError("no images were given: [N, height, width, channels], N >= 1")
    for i, image in enumerate(given):
        if image.ndim == 2:
            given[i] = image = image[..., None]
        if image.ndim != 3 or not image.size or image.shape[-1] not in (1, 3, 4):
            raise UserError(
                f"image {i} has shape {image.shape}: [height, width, channels] with 1, 3 or 4"
                " channels"
            )
    shape = tuple(spec.streams[stream].shape)
    how = {**spec.preprocess, "channels": shape[2]}
    kinds = {image.dtype for image in given}
    if kinds == {np.dtype(np.uint8)}:
        return to_float(np.stack([preprocess(image, how) for image in given]))
    if any(kind.kind != "f" for kind in kinds):
        raise UserError(
            f"images of {', '.join(sorted(map(str, kinds)))}: uint8 in [0, 255], or floats in"
            " [-1, 1]"
        )
    for image in given:
        if image.shape != shape:
            raise UserError(
                f"float images of shape {image.shape}: this model takes {shape};"
                " give uint8 images to have them resized"
            )
    return _in_range(np.stack(given).astype(np.float32))


def _in_range(images: np.ndarray) -> np.ndarray:
    """Return the images; raise UserError outside [-1, 1], warn if the range looks like [0, 1]."""
    low, high = float(images.min()), float(images.max())
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
    return images
