"""Sliced Wasserstein distances against POT, scipy and closed forms; pyramids against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_golden import DIRECTIONS, axes, features, golden
from scipy import ndimage, stats
from scipy.special import gammaln

from gan_jax.core.errors import UserError
from gan_jax.metrics.sliced import laplacian_pyramid, pyramid_distance, sliced_wasserstein


def smooth_images(seed, shape=(40, 64, 64, 3), noise=0.0):
    """Return images whose neighbouring pixels resemble one another, uint8."""
    draw = np.random.RandomState(seed)
    images = ndimage.gaussian_filter(draw.randn(*shape), (0, 6, 6, 0), mode="wrap")
    images = 127 + 40 * images / images.std() + noise * draw.randn(*shape)
    return np.clip(images, 0, 255).astype(np.uint8)


def test_equal_to_pot():
    real, fake = features(24, (400, 350))
    found = sliced_wasserstein(real[:350], fake, **DIRECTIONS)
    # Directions are in float32 here.
    assert found == pytest.approx(golden()["swd"]["POT"], rel=1e-6)


def test_one_dimension_is_scipys():
    a, b = (x[:, :1] for x in features(24, (300, 300)))
    expected = stats.wasserstein_distance(a[:, 0], b[:, 0])
    assert sliced_wasserstein(a, b, directions=1) == pytest.approx(expected, rel=1e-6)


def test_a_shift_along_all_directions():
    """|shift| E|u_1|, with u uniform on the sphere, within four standard errors (1.5 %)."""
    real, dimensions = features(24, (300, 2))[0], 24
    shift = np.linspace(0, 1, dimensions)
    mean = np.exp(gammaln(dimensions / 2) - gammaln((dimensions + 1) / 2)) / np.sqrt(np.pi)
    found = sliced_wasserstein(real, real + shift, directions=40_000)
    assert found == pytest.approx(np.linalg.norm(shift) * mean, rel=0.015)
    one = np.abs(shift @ axes(dimensions, directions=20, seed=0)).mean()
    assert sliced_wasserstein(real, real + shift, directions=20) == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 32, 48, 3), (1, 64, 64, 1)])
def test_pyramids_are_scipys(shape):
    images = np.random.RandomState(0).rand(*shape) * 255
    taps = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def smooth(x):
        return ndimage.convolve(x, taps[None, :, :, None], mode="mirror")

    smaller = smooth(images)[:, ::2, ::2]
    spread = np.zeros(images.shape)
    spread[:, ::2, ::2] = smaller
    found = laplacian_pyramid(images, 2)
    # Pixels to 255 in float32.
    np.testing.assert_allclose(found[0], images - 4 * smooth(spread), atol=2e-4)
    np.testing.assert_allclose(found[1], smaller, atol=2e-4)
    (single,) = laplacian_pyramid(images, 1)
    np.testing.assert_allclose(single, images, atol=2e-4)


def test_the_definition_by_loops():
    """One level, all patches drawn with the same generator and cut one by one."""
    sides = [smooth_images(seed, (5, 16, 20, 2), noise=10) for seed in (0, 1)]
    rows = []
    for side, images in enumerate(sides):
        draw = np.random.RandomState([7, 0, side])
        top, left = (draw.randint(size - 6, size=(5, 3)) for size in (16, 20))
        cut = np.stack(
            [
                images[i, top[i, j] : top[i, j] + 7, left[i, j] : left[i, j] + 7].astype(float)
                for i in range(5)
                for j in range(3)
            ]
        )
        cut = (cut - cut.mean((0, 1, 2))) / cut.std((0, 1, 2))
        rows.append(cut.reshape(15, -1) @ axes(98, directions=6, seed=7))
    expected = np.abs(np.sort(rows[0], 0) - np.sort(rows[1], 0)).mean()
    found = pyramid_distance(*sides, patches=3, directions=6, seed=7)
    assert found == pytest.approx({"16": expected, "mean": expected}, rel=1e-5)


def test_noise_is_seen_at_the_level_where_it_is():
    """Noise in all images against noise in every other one, which smoothing takes away."""
    real, same = smooth_images(0, noise=8), smooth_images(1, noise=8)
    fake = np.where(
        np.arange(40)[:, None, None, None] % 2, smooth_images(1, noise=12), smooth_images(1)
    )
    options = dict(patches=32, directions=64)
    floor, found = (pyramid_distance(real, images, **options) for images in (same, fake))
    assert list(found) == ["64", "32", "16", "mean"]
    assert found["mean"] == pytest.approx(np.mean([found[k] for k in ("64", "32", "16")]))
    assert found["64"] > 3 * floor["64"]
    assert found["16"] < 1.5 * floor["16"]


def test_levels_end_where_they_do_not_reach_16_pixels():
    images = smooth_images(0, (4, 28, 28, 1))
    assert list(pyramid_distance(images, images, patches=2, directions=2)) == ["28", "mean"]
    wide = smooth_images(0, (4, 40, 72, 1))
    assert list(pyramid_distance(wide, wide, patches=2, directions=2)) == ["40", "20", "mean"]


def test_a_constant_channel_adds_nothing():
    images = np.zeros((4, 16, 16, 1), np.uint8)
    assert pyramid_distance(images, images, patches=2, directions=2)["mean"] == 0


def test_bad_input_says_so():
    real, fake = features(24, (400, 350))
    with pytest.raises(UserError, match="400 real and 350 generated samples"):
        sliced_wasserstein(real, fake)
    with pytest.raises(UserError, match="directions=0"):
        sliced_wasserstein(fake, fake, directions=0)
    images = smooth_images(0, (4, 16, 16, 3))
    with pytest.raises(
        UserError, match=r"real images \(16, 16, 3\) and generated ones \(16, 16, 1"
    ):
        pyramid_distance(images, images[..., :1])
    with pytest.raises(UserError, match="15x16 px, at least 16x16"):
        pyramid_distance(images[:, :15], images[:, :15])
    with pytest.raises(UserError, match=r"66x64 px do not halve evenly .*33x32 on the way"):
        pyramid_distance(*[np.zeros((4, 66, 64, 3), np.uint8)] * 2)
    with pytest.raises(UserError, match="patches=0"):
        pyramid_distance(images, images, patches=0)
