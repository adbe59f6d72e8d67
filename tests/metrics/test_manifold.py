"""Precision, recall, density and coverage against prdc, torch-fidelity and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_golden import PRDC, features, golden

from gan_jax.core.errors import UserError
from gan_jax.metrics import manifold
from gan_jax.metrics.manifold import by_neighbours
from gan_jax.metrics.manifold import precision_recall_density_coverage as prdc


@pytest.fixture
def blocks(monkeypatch):
    """Use small blocks, so that the sets have several and a partial last one."""
    monkeypatch.setattr(manifold, "_BLOCK", 96)
    monkeypatch.setattr(manifold, "_PAIRS", 50)


def plain(real, fake, k):
    """Return the metrics by definition, from all differences in float64."""

    def squared(a, b):
        difference = a[:, None].astype(np.float64) - b
        return np.einsum("abd,abd->ab", difference, difference)

    radii = [np.sort(squared(x, x) + np.diag(np.full(len(x), -1.0)))[:, k] for x in (real, fake)]
    between = squared(real, fake)
    in_real, in_fake = between < radii[0][:, None], between < radii[1]
    return {
        "precision": in_real.any(0).mean(),
        "recall": in_fake.any(1).mean(),
        "density": in_real.sum(0).mean() / k,
        "coverage": in_real.any(1).mean(),
    }


@pytest.mark.parametrize("name", PRDC)
def test_equal_to_prdc(name, blocks):
    """In float64 and exactly: counts of samples, but for the last bit of a quotient."""
    found = prdc(*features(24, (400, 350)), k=PRDC[name])
    assert found == pytest.approx(golden()["prdc"]["prdc"][name], rel=1e-14)


@pytest.mark.parametrize("distance", [0.0, 1e4])
def test_several_k_in_one_pass(distance, blocks):
    """Bit-identical to separate passes, also where float32 has no precision; equal to prdc."""
    real, fake = features(24, (400, 350))
    for x in (real, fake):
        x[::2] += distance
    found = by_neighbours(real, fake, ks=(3, 5))
    assert found == {k: prdc(real, fake, k=k) for k in (3, 5)}
    assert found[3] != found[5]
    if not distance:
        expected = golden()["prdc"]["prdc"]
        assert found[3] == pytest.approx(expected["k=3"], rel=1e-14)
        assert found[5] == pytest.approx(expected["k=5"], rel=1e-14)


def test_precision_and_recall_are_torch_fidelitys(blocks):
    found = prdc(*features(24, (400, 350)), k=3)
    for name in ("precision", "recall"):  # means in float32 there
        assert found[name] == pytest.approx(golden()["prdc"]["torch-fidelity"][name], rel=1e-6)


@pytest.mark.parametrize("k", [1, 5, 99])
def test_equal_to_the_definitions(k, blocks):
    real, fake = (x.astype(np.float32) for x in features(8, (210, 100)))
    assert prdc(real, fake, k=k) == pytest.approx(plain(real, fake, k), rel=1e-14)


def test_far_from_the_origin_and_close_together(blocks, monkeypatch):
    """Distances 1e-5 of the norms, where products in float32 know nothing, about any center."""
    calls = []
    exact = manifold._squared_radii_in_float64
    monkeypatch.setattr(
        manifold, "_squared_radii_in_float64", lambda *a: calls.append(a) or exact(*a)
    )
    real, fake = features(8, (210, 200))
    real, fake = (1e-5 * x + np.repeat([[-1.0], [1.0]], len(x) // 2, 0) for x in (real, fake))
    expected = plain(real, fake, 5)
    assert prdc(real, fake) == pytest.approx(expected, rel=1e-14)
    assert 0.5 < expected["precision"] < 1
    assert calls, "float32 sufficed, so this tests nothing"


def test_features_of_few_values_are_full_of_ties(blocks):
    draw = np.random.RandomState(0)
    real, fake = (draw.randint(3, size=(count, 6)).astype(np.float32) for count in (230, 150))
    expected = plain(real, fake, 3)
    assert prdc(real, fake, k=3) == pytest.approx(expected, rel=1e-14)
    assert 0 < expected["precision"] < 1


def test_a_generator_that_has_collapsed(blocks):
    real = features(24, (400, 2))[0]
    found = prdc(real, np.repeat(real[:1], 200, axis=0))
    assert found["precision"] == 1 and found["recall"] == 0 and found["coverage"] < 0.2


def test_equal_sets():
    real = features(24, (400, 2))[0]
    found = prdc(real, real, k=4)
    # Each ball is open: it holds its center and the k - 1 nearest.
    assert found == pytest.approx({"precision": 1, "recall": 1, "density": 1, "coverage": 1})


def test_sets_apart():
    real, fake = features(24, (100, 100))
    assert set(prdc(real, fake + 1e3).values()) == {0.0}


def test_the_last_neighbour_that_there_is():
    real, fake = features(8, (7, 9))
    assert prdc(real, fake, k=6) == pytest.approx(plain(real, fake, 6))
    with pytest.raises(UserError, match="7 real samples, at least 8 needed"):
        prdc(real, fake, k=7)
    with pytest.raises(UserError, match="6 generated samples, at least 7 needed"):
        prdc(real, fake[:6], k=6)
    with pytest.raises(UserError, match="k=0: at least 1"):
        prdc(real, fake, k=0)


def test_values_that_are_not_finite_are_refused():
    real, fake = features(8, (20, 20))
    fake[3, 2] = np.nan
    with pytest.raises(UserError, match="generated sample 3 are not finite"):
        prdc(real, fake)
