"""Inception-v3 and resizing against the originals; needs the extra `parity`."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

for package in ("torch", "torchvision", "pytorch_fid", "torch_fidelity", "cleanfid"):
    pytest.importorskip(package)

import originals

from benchmarks import drawn_inception as cases
from gan_jax.evaluation.extractors import make_extractor
from gan_jax.features import resize
from gan_jax.features.inception_weights import VARIANTS, read_inception


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files of random weights by variant."""
    found = {}
    for name, variant in VARIANTS.items():
        found[name] = tmp_path_factory.mktemp(name) / "weights.npz"
        np.savez(found[name], **cases.weights(variant.network.classes))
    return found


@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3_tf", 75), ("inception_v3_torchvision", 299)]
)
def test_networks(name: str, size: int, stored: dict[str, Path]) -> None:
    scaled = cases.scaled(2, size)
    variables = read_inception(VARIANTS[name].network, stored[name])
    found = jax.jit(VARIANTS[name].network.apply)(variables, scaled)
    for ours, theirs in zip(found, originals.NETWORKS[name](scaled), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_extractor_is_torch_fidelitys(stored: dict[str, Path]) -> None:
    images = cases.images(2, 64, 70)
    extractor = make_extractor(
        "inception_v3_tf", weights=stored["inception_v3_tf"], resize="tf_legacy"
    )
    found = jax.jit(extractor.apply)(extractor.variables, images)
    features, logits = originals.torch_fidelity(images)
    np.testing.assert_allclose(found["features"], features, atol=1e-4)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)


@pytest.mark.parametrize("how", ["clean", "tf_legacy"])
@pytest.mark.parametrize("there", [(32, 32), (299, 200), (431, 517), (1, 300)])
def test_resizing(how: str, there: tuple[int, int]) -> None:
    images = cases.images(1, *there)
    original = originals.clean if how == "clean" else originals.tf_legacy
    found = resize.resize(images, (299, 299), how)
    np.testing.assert_allclose(found, original(images, (299, 299)), atol=2e-4)


def test_the_golden_arrays_are_the_originals() -> None:
    made = originals.golden()
    with np.load(originals.GOLDEN) as golden:
        assert set(golden) == set(made)
        for name, array in made.items():
            np.testing.assert_allclose(golden[name], array, atol=1e-4)
