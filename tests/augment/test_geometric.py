"""Warps against SciPy; draws that do not depend on the batch; pairs that stay pairs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from gan_jax.augment.geometric import affine, random_affine, random_flip, random_jitter, rotate
from gan_jax.parallel.axes import example_keys


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (5, 12, 17, 2)).astype(np.float32)


def test_rotation_is_scipys(images):
    degrees = np.array([0.0, 17.0, -45.0, 90.0, 200.0], np.float32)
    got = jax.jit(functools.partial(rotate, fill=0.3))(images, degrees)
    for image, angle, result in zip(images, degrees, got, strict=True):
        # axes=(1, 0) is SciPy's default: counter-clockwise as displayed.
        expected = ndimage.rotate(
            image, angle, axes=(1, 0), reshape=False, order=1, mode="grid-constant", cval=0.3
        )
        np.testing.assert_allclose(result, expected, atol=2e-5)


def test_a_quarter_turn_is_counter_clockwise():
    image = np.random.default_rng(0).uniform(-1, 1, (1, 6, 6, 1)).astype(np.float32)
    expected = np.rot90(image, axes=(1, 2))
    np.testing.assert_allclose(jax.jit(rotate)(image, 90.0), expected, atol=1e-5)


def test_affine_is_scipys(images):
    degrees, shear, scale = 25.0, 15.0, 1.3
    shift = np.array([1.5, -2.25])
    # Forward, in (row, column) about the centre with rows down.
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    lean = np.array([[1, 0], [-np.tan(np.deg2rad(shear)), 1]])
    inverse = np.linalg.inv(scale * turn @ lean)
    centre = (np.array(images.shape[1:3]) - 1) / 2
    offset = centre - inverse @ (centre + shift)
    warp = functools.partial(
        affine, degrees=degrees, scale=scale, shift=tuple(shift), shear_degrees=shear, fill=-1.0
    )
    got = jax.jit(warp)(images)
    for image, result in zip(images, got, strict=True):
        for c in range(image.shape[-1]):
            expected = ndimage.affine_transform(
                image[..., c], inverse, offset, order=1, mode="grid-constant", cval=-1.0
            )
            np.testing.assert_allclose(result[..., c], expected, atol=2e-5)


def test_whole_pixel_shifts_move_down_and_right(images):
    got = np.asarray(jax.jit(functools.partial(affine, shift=(2.0, 3.0), fill=0.0))(images))
    np.testing.assert_allclose(got[:, 2:, 3:], images[:, :-2, :-3], atol=1e-5)
    assert not got[:, :2].any()
    assert not got[:, :, :3].any()


def test_far_outside_is_fill(images):
    got = jax.jit(functools.partial(affine, shift=(1000.0, -1000.0), fill=-0.5))(images)
    np.testing.assert_array_equal(got, np.full_like(images, -0.5))


def test_nothing_drawn_changes_nothing(images):
    keys = example_keys(jax.random.key(0), 5)
    np.testing.assert_allclose(jax.jit(random_affine)(images, keys), images, atol=1e-6)
    (same,) = jax.jit(functools.partial(random_jitter, pad=0))((images,), keys)
    np.testing.assert_array_equal(same, images)


@pytest.mark.parametrize(
    "augment",
    [
        functools.partial(random_affine, max_degrees=30, max_scale=0.2, max_shift_pixels=3),
        lambda x, keys: random_flip((x,), keys)[0],
        lambda x, keys: random_jitter((x,), keys, pad=3)[0],
    ],
    ids=["affine", "flip", "jitter"],
)
def test_an_example_does_not_depend_on_its_batch(images, augment):
    keys = example_keys(jax.random.key(3), 5)
    augment = jax.jit(augment)
    whole = augment(images, keys)
    np.testing.assert_allclose(augment(images[2:4], keys[2:4]), whole[2:4], atol=1e-5)
    assert np.abs(whole - images).max() > 0.1
    # Equal examples with other keys become different ones.
    alike = np.asarray(augment(np.repeat(images[:1], 5, 0), keys))
    assert np.abs(alike - alike[:1]).max() > 0.1


def test_random_affine_stays_in_its_range():
    """A bright pixel at the centre moves by no more than the shift, and by both signs."""
    image = np.full((64, 21, 21, 1), -1, np.float32)
    image[:, 10, 10] = 1
    keys = example_keys(jax.random.key(0), 64)
    augment = jax.jit(functools.partial(random_affine, max_degrees=180, max_shift_pixels=2))
    moved = np.asarray(augment(image, keys))[..., 0] + 1
    weight = moved.sum((1, 2))
    rows = (moved.sum(2) * (np.arange(21) - 10)).sum(1) / weight
    assert np.abs(rows).max() <= 2.5
    assert rows.min() < -1 < 1 < rows.max()


@pytest.mark.parametrize(
    "augment", [random_flip, functools.partial(random_jitter, pad=2)], ids=["flip", "jitter"]
)
def test_pairs_move_together(images, augment):
    first, second = jax.jit(augment)(
        (images, images[..., :1] * 2), example_keys(jax.random.key(0), 5)
    )
    np.testing.assert_array_equal(first[..., :1] * 2, second)


def test_flip_takes_about_half():
    x = jnp.arange(2.0).reshape(1, 1, 2, 1).repeat(400, 0)
    (flipped,) = jax.jit(random_flip)((x,), example_keys(jax.random.key(0), 400))
    assert 0.4 < flipped[:, 0, 0, 0].mean() < 0.6


def test_jitter_crops_the_edge_padded_image(images):
    jitter = jax.jit(functools.partial(random_jitter, pad=2))
    (moved,) = jitter((images,), example_keys(jax.random.key(0), 5))
    for image, result in zip(images, np.asarray(moved), strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        crops = (padded[i : i + 12, j : j + 17] for i in range(5) for j in range(5))
        assert any(np.array_equal(result, crop) for crop in crops)


def test_jitter_crops_the_reflected_image(images):
    """As PyTorch's and NumPy's padding "reflect", which repeats no edge."""
    keys = example_keys(jax.random.key(0), 5)
    (moved,) = random_jitter((images,), keys, pad=2, reflect=True)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    crops = [
        padded[:, i : i + images.shape[1], j : j + images.shape[2]]
        for i in range(5)
        for j in range(5)
    ]
    found = [[(x == crop[i]).all() for crop in crops].index(True) for i, x in enumerate(moved)]
    assert len(set(found)) > 1


def test_jitter_of_two_sizes_is_an_error(images):
    with pytest.raises(ValueError, match="one size"):
        random_jitter((images, images[:, :6]), example_keys(jax.random.key(0), 5), pad=1)
