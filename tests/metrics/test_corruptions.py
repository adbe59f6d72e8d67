"""Corruptions against scipy and Pillow, and an attack with a known optimum."""

from __future__ import annotations

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gan_jax.core.images import to_float
from gan_jax.core.keys import image_keys
from gan_jax.metrics.corruptions import gaussian_blur, gaussian_noise, jpeg, pgd

KEYS = image_keys(0, np.arange(6))


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def test_noise_has_its_deviation_and_stays_in_range() -> None:
    grey = jnp.zeros((6, 40, 30, 3))
    found = gaussian_noise(grey, KEYS, 0.1)
    assert float(found.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(found.mean())) < 2e-3
    np.testing.assert_allclose(gaussian_noise(grey, KEYS, 0.2), 2 * found, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(gaussian_noise(grey[2:3], KEYS[2:3], 0.1), found[2:3])
    loud = gaussian_noise(grey, KEYS, 5.0)
    assert (float(loud.min()), float(loud.max())) == (-1, 1)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_blur_is_that_of_scipy(sigma: float) -> None:
    x = images(2, 9, 14, 3)  # the kernel of the widest is longer than the image
    found = gaussian_blur(jnp.asarray(x), sigma)
    expected = gaussian_filter(x, (0, sigma, sigma, 0), mode="reflect", truncate=4.0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(channels: int) -> None:
    smooth = np.asarray(gaussian_blur(jnp.asarray(3 * images(3, 16, 24, channels)), 2.0))
    pixels = np.rint((np.clip(smooth, -1, 1) + 1) * 127.5).astype(np.uint8)
    errors = []
    for quality in (90, 30):
        found = jpeg(smooth, quality)
        for image, mine in zip(pixels, found, strict=True):
            file = io.BytesIO()
            Image.fromarray(image.squeeze()).save(file, format="jpeg", quality=quality)
            theirs = np.asarray(Image.open(io.BytesIO(file.getvalue())))
            np.testing.assert_array_equal(mine.squeeze(), to_float(theirs))
        errors.append(np.abs(found - smooth).mean())
    assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize("up", [True, False])
def test_the_best_attack_on_a_linear_function_is_found(up: bool) -> None:
    """The maximum over the ball, and the range, is x + radius sign(w), cut to [-1, 1]."""
    x, w = images(6, 5, 4, 2), np.random.default_rng(1).normal(size=(5, 4, 2)).astype(np.float32)
    w[0, 0] = 0
    for radius in (0.01, 0.3):
        moved = pgd(
            lambda x: jnp.broadcast_to(w, x.shape),
            *(jnp.asarray(x), KEYS),
            radius=radius,
            steps=20,
            up=up,
        )
        best = np.clip(x + (radius if up else -radius) * np.sign(w), -1, 1)
        np.testing.assert_allclose(moved[:, w != 0], best[:, w != 0], atol=1e-6)
        free = np.asarray(moved)[:, 0, 0]  # no gradient: where it started
        assert (np.abs(free - x[:, 0, 0]) <= radius + 1e-6).all()
        assert (free != x[:, 0, 0]).any()


def test_an_attack_stops_at_the_best_place_inside_of_the_ball() -> None:
    x = 0.5 * images(6, 5, 4, 1)
    best = x + 0.1 * images(6, 5, 4, 1)  # of a ball of 0.2
    gradient = jax.grad(lambda y: -jnp.square(y - best).sum())
    moved = pgd(gradient, jnp.asarray(x), KEYS, radius=0.2, steps=20, up=True)
    assert np.abs(moved - best).max() <= 2.5 * 0.2 / 20 + 1e-6  # a step


def test_an_attack_of_radius_zero_changes_nothing() -> None:
    x = jnp.asarray(images(6, 5, 4, 1))
    moved = pgd(jnp.ones_like, x, KEYS, radius=0.0, steps=3, up=True)
    np.testing.assert_array_equal(moved, x)
