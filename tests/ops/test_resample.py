"""Resampling equals Pillow's, of floats and of bytes, up and down."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from clipped_pictures import pictures
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.ops import resample

SIZES = [((24, 36), (12, 18)), ((13, 10), (39, 30)), ((28, 45), (60, 31)), ((9, 40), (9, 7))]


@pytest.mark.parametrize(("there", "size"), SIZES)
def test_floats_and_bytes_are_pillows(there: tuple[int, int], size: tuple[int, int]) -> None:
    stored = pictures(2, *there, 3)
    wide = stored.astype(np.float32) / 127.5 - 1

    def both(x: np.ndarray, stored: np.ndarray) -> list[tuple[jax.Array, jax.Array]]:
        return [
            (resample.resample(x, size, name), resample.resample_bytes(stored, size, name))
            for name in resample.FILTERS
        ]

    found = jax.jit(both)(wide, stored)
    for name, (floats, levels) in zip(resample.FILTERS, found, strict=True):
        method = Image.Resampling[name.upper()]
        planes = [
            np.asarray(Image.fromarray(plane).resize(size[::-1], method))
            for image in wide
            for plane in image.transpose(2, 0, 1)
        ]
        expected = np.stack(planes).reshape(2, 3, *size).transpose(0, 2, 3, 1)
        np.testing.assert_allclose(floats, expected, atol=1e-6, err_msg=name)
        expected = np.stack(
            [np.asarray(Image.fromarray(image).resize(size[::-1], method)) for image in stored]
        )
        assert levels.dtype == np.uint8
        np.testing.assert_array_equal(levels, expected, err_msg=name)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("margin", [0, 8])
def test_reach_is_that_of_the_gradient(scale: int, margin: int) -> None:
    """Of the pixels that come from one input pixel, and `margin` around them."""
    size, middle = 25, 12
    first, last = scale * middle - margin, scale * (middle + 1) + margin
    draws = np.random.default_rng(0).normal(size=last - first)

    def total(row: jax.Array) -> jax.Array:
        wide = resample.resample(row[None, None, :, None], (1, scale * size), "bicubic")
        return (wide[0, 0, first:last, 0] * draws).sum()

    seen = np.abs(jax.grad(total)(np.zeros(size, np.float32))) > 1e-6
    reach = resample.upscaling_reach(scale, "bicubic", margin)
    places = np.flatnonzero(seen) - middle
    assert max(-places.min(), places.max()) == reach


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'bicubic'"):
        resample.resample(np.zeros((1, 8, 8, 1)), (4, 4), "bicubik")
