"""Colour spaces against scikit-image and Pillow; gradients at the ends of every range."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import color

from gan_jax.ops import colour

DRAW = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3)).astype(np.uint8)
CORNERS = [[0] * 3, [255] * 3, [128] * 3, [255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 0, 0]]
DRAW[0, 0, :7] = CORNERS
IMAGES = DRAW.astype(np.float32) / 127.5 - 1


def test_y_is_that_of_scikit_image() -> None:
    found = colour.studio_y(IMAGES)
    np.testing.assert_allclose(found[..., 0], color.rgb2ycbcr(DRAW)[..., 0], atol=1e-4)
    np.testing.assert_allclose(found[0, 0, :2, 0], [16, 235], atol=1e-4)


def test_luma_is_that_of_pillow() -> None:
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in DRAW])
    np.testing.assert_array_equal(colour.grey_bytes(DRAW)[..., 0], expected)
    levels = (np.asarray(colour.luma(IMAGES))[..., 0] + 1) * 127.5
    np.testing.assert_allclose(levels, expected, atol=0.501)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")  # of colours out of sRGB
def test_lab_is_that_of_scikit_image_and_returns() -> None:
    found = jax.jit(colour.rgb_to_lab)(IMAGES)
    np.testing.assert_allclose(found, color.rgb2lab(DRAW), atol=2e-3)
    np.testing.assert_allclose(jax.jit(colour.lab_to_rgb)(found), IMAGES, atol=1e-4)
    # Colours that sRGB does not have: scikit-image clips them.
    lab = np.random.default_rng(1).uniform([0, -90, -90], [100, 90, 90], (500, 3))
    made = np.asarray(colour.lab_to_rgb(lab.astype(np.float32)))
    expected = 2 * color.lab2rgb(lab) - 1
    inside = (np.abs(made) <= 1).all(-1)
    assert 50 < inside.sum() < 450
    np.testing.assert_allclose(made[inside], expected[inside], atol=1e-3)


def test_gradients_are_finite_and_right_at_black_and_white() -> None:
    ends = np.array([[-1] * 3, [1] * 3, [-1, 1, -1], [-1, -1, 1], [0.1, -1, 0.7]], np.float32)
    to, back = (jax.vmap(jax.jacrev(f)) for f in (colour.rgb_to_lab, colour.lab_to_rgb))
    there, here = jax.jit(lambda x: (to(x), back(colour.rgb_to_lab(x))))(ends)
    assert np.isfinite(there).all() and np.isfinite(here).all()
    # The two are inverse functions, and so are their derivatives.
    np.testing.assert_allclose(here @ there, np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-3)
    # Lightness of a dark grey is 903.3 Y, and Y is value / 12.92.
    np.testing.assert_allclose(there[0, 0].sum(), 903.3 / 12.92 / 2, rtol=1e-3)
