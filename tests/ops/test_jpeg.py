"""JPEG on the device against files that Pillow writes and reads."""

from __future__ import annotations

import io

import jax
import numpy as np
import pytest
from PIL import Image

from gan_jax.ops.jpeg import compress

skimage_data = pytest.importorskip("skimage.data")


def filed(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


def test_a_photograph_is_that_of_pillow() -> None:
    """300 x 451 px: neither side is a multiple of a block. Qualities are each image's own."""
    photo, qualities = skimage_data.chelsea(), np.array([5, 10, 50, 90])
    found = np.asarray(jax.jit(compress)(np.stack([photo] * 4), qualities))
    assert found.dtype == np.uint8
    for image, quality in zip(found, qualities, strict=True):
        expected = filed(photo, int(quality))
        difference = np.abs(image.astype(int) - expected)
        assert difference.mean() < 0.3
        assert (difference > 0).mean() < (0.02 if quality <= 10 else 0.3)
        assert abs(psnr(image, photo) - psnr(expected, photo)) < 0.01


@pytest.mark.parametrize("size", [(37, 5), (9, 3)])
def test_small_images_are_those_of_pillow(size: tuple[int, int]) -> None:
    """Edges, and chroma of up to two columns, which libjpeg does not smooth."""
    image, qualities = skimage_data.coffee()[100 : 100 + size[0], 200 : 200 + size[1]], (10, 50)
    found = np.asarray(jax.jit(compress)(np.stack([image] * 2), np.array(qualities)))
    for one, quality, bound in zip(found, qualities, (0.1, 0.5), strict=True):
        assert np.abs(one.astype(int) - filed(image, quality)).mean() < bound


def test_grey_images_are_those_of_pillow() -> None:
    image = skimage_data.camera()[100:233, 50:140]
    found = np.asarray(jax.jit(compress)(image[None, :, :, None], np.array([10])))[0, ..., 0]
    assert np.abs(found.astype(int) - filed(image, 10)).mean() < 0.05
