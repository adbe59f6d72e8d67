"""MS-SSIM against torchmetrics, and diversity of sets with known values."""

from __future__ import annotations

import functools
import itertools

import jax
import numpy as np
import pytest
from metrics_golden import MS_SSIM_WEIGHTS, golden, images

from gan_jax.core.errors import UserError
from gan_jax.metrics.image_quality import ssim
from gan_jax.metrics.ms_ssim import diversity, ms_ssim, scales_of


@functools.partial(jax.jit, static_argnames="scales")
def compiled(prediction, target, scales=None):
    return ms_ssim(prediction=prediction, target=target, scales=scales)


def in_range(pixels):
    return pixels.astype(np.float32) / 127.5 - 1


@pytest.mark.parametrize("scales", MS_SSIM_WEIGHTS)
def test_equal_to_the_packages(scales):
    """Ours is in float32, theirs in float64."""
    expected = {package: values[str(scales)] for package, values in golden()["ms_ssim"].items()}
    noisy, target = map(in_range, images(scales))
    assert scales_of(*noisy.shape[1:3]) == scales
    found = compiled(noisy, target)
    np.testing.assert_allclose(found, expected["torchmetrics"], atol=1e-5)
    noisy, target = (in_range(pixels[..., :1]) for pixels in images(5))
    found = compiled(noisy, target, scales=scales)
    np.testing.assert_allclose(found, expected["pytorch-msssim"], atol=1e-5)


def test_scales_by_size():
    sizes = {11: 1, 21: 1, 22: 2, 28: 2, 32: 2, 43: 2, 44: 3, 64: 3, 88: 4, 128: 4, 176: 5, 512: 5}
    assert {size: scales_of(size, 1000) for size in sizes} == sizes
    assert {size: scales_of(1000, size) for size in sizes} == sizes


def test_one_scale_is_ssim():
    noisy, target = map(in_range, images(3))
    found = compiled(noisy, target, scales=1)
    np.testing.assert_allclose(found, ssim(prediction=noisy, target=target), atol=1e-6)


def test_a_negative_image_has_no_similarity():
    """Its covariance is below zero, which no power of a weight takes."""
    target = in_range(images(3)[1])
    np.testing.assert_array_equal(compiled(-target, target), 0)


def test_copies_have_no_diversity_and_classes_are_apart():
    noisy, target = images(3)
    copies = np.concatenate([np.repeat(target[:1], 4, 0), noisy[2:], target[1:2], noisy[1:2]])
    labels = np.array([5, 5, 5, 5, 2, 2, 2])
    order = np.random.RandomState(0).permutation(7)
    result = diversity(copies[order], labels[order], pairs=30)
    assert list(result.by_class) == [2, 5] and result.scales == 3
    assert result.by_class[5] == pytest.approx(1, abs=1e-6)
    assert result.by_class[2] < 0.9
    assert result.value == pytest.approx(np.mean(list(result.by_class.values())))


def test_the_mean_over_all_pairs_is_approached():
    """Three images have three pairs; 300 draws come within four standard errors of their mean."""
    noisy, target = images(3)
    chosen = np.stack([noisy[2], target[1], noisy[1]])
    pairs = [
        float(
            ms_ssim(prediction=in_range(chosen[i : i + 1]), target=in_range(chosen[j : j + 1]))[0]
        )
        for i, j in itertools.combinations(range(3), 2)
    ]
    found = diversity(chosen, pairs=300, seed=1)
    assert list(found.by_class) == [0]
    assert found.value == pytest.approx(np.mean(pairs), abs=4 * np.std(pairs) / np.sqrt(300))
    assert found == diversity(chosen, pairs=300, seed=1) != diversity(chosen, pairs=300, seed=2)


def test_bad_input_says_so():
    pixels = images(3)[0]
    with pytest.raises(UserError, match="10x52 px, at least 11x11"):
        diversity(pixels[:, :10])
    with pytest.raises(UserError, match="scales=4 of images of 44x52 px: 1 to 3"):
        ms_ssim(prediction=in_range(pixels), target=in_range(pixels), scales=4)
    with pytest.raises(UserError, match="1 image of class 0, at least 2"):
        diversity(pixels[:1])
    with pytest.raises(UserError, match="1 image of class 9"):
        diversity(pixels, [9, 3, 3])
    with pytest.raises(UserError, match="0 pairs of 3 images"):
        diversity(pixels, pairs=0)
    with pytest.raises(UserError, match="100 pairs of 0 images"):
        diversity(pixels[:0])
    with pytest.raises(ValueError, match="float32, not uint8"):
        diversity(in_range(pixels))
    with pytest.raises(ValueError, match="labels"):
        diversity(pixels, [0, 1])
    with pytest.raises(ValueError, match="agree"):
        ms_ssim(prediction=pixels, target=pixels[..., :1])
