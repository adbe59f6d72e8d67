"""PSNR and SSIM against scikit-image and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_golden import golden, images
from skimage import metrics

from gan_jax.core.errors import UserError
from gan_jax.metrics.image_quality import psnr, ssim


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    target = np.cumsum(rng.normal(0, 0.2, (3, 24, 31, 3)), 1)
    noise = np.array([0.01, 0.1, 0.5])[:, None, None, None] * rng.normal(size=target.shape)
    return [np.clip(x, -1, 1).astype(np.float32) for x in (target + noise, target)]


def test_psnr_is_skimages(pairs):
    expected = [
        metrics.peak_signal_noise_ratio(b, a, data_range=2) for a, b in zip(*pairs, strict=True)
    ]
    np.testing.assert_allclose(psnr(prediction=pairs[0], target=pairs[1]), expected, rtol=1e-5)


def test_ssim_is_skimages(pairs):
    expected = [
        metrics.structural_similarity(
            (a.astype(np.float64) + 1) / 2,
            (b.astype(np.float64) + 1) / 2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        for a, b in zip(*pairs, strict=True)
    ]
    assert max(expected) - min(expected) > 0.25
    np.testing.assert_allclose(ssim(prediction=pairs[0], target=pairs[1]), expected, atol=1e-5)


@pytest.mark.parametrize("scales", [3, 5])
def test_both_are_torchmetrics(scales):
    prediction, target = (x.astype(np.float32) / 127.5 - 1 for x in images(scales))
    expected = {k: golden()[k]["torchmetrics"][str(scales)] for k in ("psnr", "ssim")}
    found = psnr(prediction=prediction, target=target)
    np.testing.assert_allclose(found, expected["psnr"], rtol=1e-5)
    found = ssim(prediction=prediction, target=target)
    np.testing.assert_allclose(found, expected["ssim"], atol=1e-5)


def test_equal_images(pairs):
    np.testing.assert_allclose(ssim(prediction=pairs[1], target=pairs[1]), 1, atol=1e-6)
    assert np.isposinf(psnr(prediction=pairs[1], target=pairs[1])).all()


def test_below_the_window_says_so():
    image = np.zeros((1, 10, 32, 1), np.float32)
    with pytest.raises(UserError, match=r"10x32 px.*11x11"):
        ssim(prediction=image, target=image)
    smallest = np.zeros((1, 11, 11, 1), np.float32)
    np.testing.assert_allclose(ssim(prediction=smallest, target=smallest), 1)


def test_shapes_must_agree():
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="agree"):
            metric(prediction=np.zeros((2, 16, 16, 3)), target=np.zeros((2, 16, 16, 1)))
