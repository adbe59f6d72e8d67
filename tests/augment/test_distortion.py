"""Distortion: each part alone, drawn an image at a time, with gradients through it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.augment.distortion import NOISE, PARTS, distortion
from gan_jax.augment.geometric import random_affine

KEYS = jax.random.split(jax.random.key(0), 40)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (40, 12, 14, 1)), jnp.float32)


def test_affine_is_that_of_the_classifier() -> None:
    found = distortion(IMAGES, KEYS, ("affine",))
    keys = jax.vmap(jax.random.split)(KEYS)[:, 0]
    limits = dict(max_degrees=12.0, max_scale=0.1, max_shift_pixels=2.0)
    np.testing.assert_allclose(found, random_affine(IMAGES, keys, **limits), atol=1e-6)
    assert float(jnp.abs(found - IMAGES).mean()) > 0.1


def test_noise_has_its_deviation() -> None:
    noise = distortion(IMAGES, KEYS, ("noise",)) - IMAGES
    np.testing.assert_allclose(noise.std(), NOISE, rtol=0.03)
    assert abs(float(noise.mean())) < 0.03
    both = distortion(IMAGES, KEYS, PARTS) - distortion(IMAGES, KEYS, ("affine",))
    np.testing.assert_allclose(both, noise, atol=1e-6)


def test_an_image_depends_on_its_own_key_and_carries_a_gradient() -> None:
    whole = distortion(IMAGES, KEYS, PARTS)
    np.testing.assert_allclose(distortion(IMAGES[3:5], KEYS[3:5], PARTS), whole[3:5], atol=1e-6)
    gradient = jax.grad(lambda x: distortion(x, KEYS, PARTS).sum())(IMAGES)
    assert float(jnp.abs(gradient[:, 4:8, 5:9]).min()) > 0
