"""DiffAugment: each part by hand, drawn an image at a time, with gradients through it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import diffaugment as module
from gan_jax.augment.diffaugment import PARTS, brightness, contrast, cutout, saturation, translation

diffaugment = jax.jit(module.diffaugment, static_argnums=2)
DRAW = np.random.default_rng(0)
IMAGE = jnp.asarray(DRAW.uniform(-1, 1, (16, 8, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 300)


def test_colours_by_hand() -> None:
    key = jax.random.key(3)
    u = float(jax.random.uniform(key))
    np.testing.assert_allclose(brightness(IMAGE, key), IMAGE + u - 0.5, atol=1e-6)
    mean = IMAGE.mean()
    np.testing.assert_allclose(
        contrast(IMAGE, key), mean + (u + 0.5) * (IMAGE - mean), rtol=1e-5, atol=1e-6
    )
    mean = IMAGE.mean(-1, keepdims=True)
    np.testing.assert_allclose(
        saturation(IMAGE, key), mean + 2 * u * (IMAGE - mean), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(saturation(IMAGE[..., :1], key), IMAGE[..., :1], atol=1e-6)


def test_translations_are_whole_pixels_up_to_an_eighth() -> None:
    marked = jnp.zeros((16, 8, 1)).at[7, 4].set(1.0)
    made = np.asarray(jax.jit(jax.vmap(lambda key: translation(marked, key)))(KEYS))
    assert (made.sum((1, 2, 3)) == 1).all() and set(np.unique(made)) == {0, 1}
    _, rows, columns, _ = np.nonzero(made)
    assert set(rows - 7) == {-2, -1, 0, 1, 2} and set(columns - 4) == {-1, 0, 1}
    counts = np.bincount(rows - 5)
    assert counts.min() > 300 / 5 / 2, "all shifts are equally likely"
    whole = np.asarray(translation(jnp.ones((16, 8, 1)), KEYS[0]))
    assert whole.min() == 0 or whole.sum() == 128, "what enters is 0"


def test_a_cutout_is_half_of_each_side_and_may_be_cut_off() -> None:
    made = np.asarray(jax.jit(jax.vmap(lambda key: cutout(jnp.ones((16, 8, 1)), key)))(KEYS))
    holes = 1 - made[..., 0]
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    np.testing.assert_array_equal(holes.sum((1, 2)), heights * widths)
    assert heights.max() == 8 and heights.min() == 4 and widths.max() == 4 and widths.min() == 2


def test_an_image_depends_on_its_key_only_and_parts_on_themselves() -> None:
    images = jnp.stack([IMAGE] * 6)
    made = diffaugment(images, KEYS[:6], tuple(PARTS))
    np.testing.assert_array_equal(made[2:4], diffaugment(images[2:4], KEYS[2:4], tuple(PARTS)))
    assert len({np.asarray(x).tobytes() for x in made}) == 6
    np.testing.assert_array_equal(diffaugment(images, KEYS[:6], ()), images)
    # The same cutout, with or without colours before it.
    alone = diffaugment(images, KEYS[:6], ("cutout",)) == 0
    np.testing.assert_array_equal(alone, diffaugment(images, KEYS[:6], ("color", "cutout")) == 0)


def test_gradients_are_those_of_the_same_change() -> None:
    """The change is affine in the image: its derivative along a direction is its own difference."""
    images = jnp.stack([IMAGE] * 4)
    direction = jnp.asarray(DRAW.normal(size=images.shape), jnp.float32)
    change = lambda x: diffaugment(x, KEYS[:4], tuple(PARTS))  # noqa: E731
    weights = jnp.asarray(DRAW.normal(size=images.shape), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: (weights * change(x)).sum()))(images)
    difference = (weights * (change(images + direction) - change(images))).sum()
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-3)
