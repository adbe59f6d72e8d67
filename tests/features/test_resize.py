"""Resizing against Pillow, and against recorded outputs of other libraries."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from clipped_pictures import pictures
from PIL import Image

from gan_jax.core import images
from gan_jax.core.errors import UserError
from gan_jax.features import resize

SIZES = [((32, 32), (75, 75)), ((28, 45), (60, 31)), ((17, 90), (75, 20)), ((9, 5), (9, 8))]


@pytest.mark.parametrize(("there", "size"), SIZES)
def test_clean_is_pillow_on_floats(there: tuple[int, int], size: tuple[int, int]) -> None:
    stored = pictures(2, *there, 3)
    planes = [
        Image.fromarray(plane.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
        for image in stored
        for plane in image.transpose(2, 0, 1)
    ]
    expected = np.clip(np.stack(planes).reshape(2, 3, *size).transpose(0, 2, 3, 1), 0, 255)
    found = jax.jit(lambda x: resize.resize(x, size, "clean"))(stored)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.min() == 0 and found.max() == 255


@pytest.mark.parametrize(("there", "size"), [*SIZES, ((40, 30), (20, 15)), ((7, 7), (7, 7))])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_preprocess_is_that_of_the_host(
    there: tuple[int, int], size: tuple[int, int], fit: str, filter: str
) -> None:
    stored = pictures(2, *there, 3)
    how = dict(size=list(size), channels=3, resize=filter, fit=fit)
    expected = np.stack([images.preprocess(image, how) for image in stored])
    found = np.asarray(resize.preprocess(stored, how))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("there", [1, 3, 4])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_those_of_the_host(there: int, channels: int) -> None:
    stored = pictures(2, 64, 65, there)
    expected = np.stack([images.to_channels(image, channels) for image in stored])
    np.testing.assert_array_equal(resize.to_channels(stored, channels), expected)


def test_what_cannot_be_resized_is_refused() -> None:
    how = dict(size=(8, 8), channels=4, resize="bicubic", fit="stretch")
    with pytest.raises(UserError, match="RGBA images of 9x9 px, for a network that sees 8x8"):
        resize.preprocess(pictures(1, 9, 9, 4), how)
    with pytest.raises(UserError, match="did you mean 'tf_legacy'"):
        resize.resize(pictures(1, 9, 9, 3), (8, 8), "tflegacy")
