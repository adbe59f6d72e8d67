"""Frechet distances against closed forms, scipy, pytorch-fid and torch-fidelity."""

from __future__ import annotations

import tracemalloc

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from metrics_golden import FRECHET, features, golden
from scipy import linalg, stats

from gan_jax.core.errors import UserError
from gan_jax.metrics.frechet import (
    Gaussian,
    Moments,
    fid_infinity,
    frechet_distance,
    intra_class_distance,
    moments_of,
)


def gaussian(mean, covariance, count=0):
    return Gaussian(np.asarray(mean, float), np.asarray(covariance, float), count)


@pytest.mark.parametrize("name", FRECHET)
@pytest.mark.parametrize("package", ["pytorch-fid", "torch-fidelity"])
def test_equal_to_the_packages(name, package):
    """To 1e-9 at full rank; to 1e-6 where roots of zeros are 1e-8 in the packages."""
    result = frechet_distance(*map(moments_of, features(*FRECHET[name])))
    rel = 1e-6 if name == "singular" else 1e-9
    assert result.value == pytest.approx(golden()["frechet"][package][name], rel=rel)
    assert bool(result.note) == (name == "singular")


def test_equal_to_the_features_own_factors():
    """A covariance of few samples has the centred samples as its factor: 1e-12."""
    pair = features(*FRECHET["singular"])
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in pair)
    traces = np.square(a).sum() + np.square(b).sum() - 2 * linalg.svdvals(a @ b.T).sum()
    expected = np.square(pair[0].mean(0) - pair[1].mean(0)).sum() + traces
    result = frechet_distance(*map(moments_of, pair))
    assert result.value == pytest.approx(expected, rel=1e-12)


def test_closed_forms():
    one = frechet_distance(gaussian([1.0], [[4.0]]), gaussian([3.0], [[9.0]]))
    assert one.value == pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2, rel=1e-12)
    # Covariances that commute: the squared differences of the deviations, in any basis.
    turn = stats.ortho_group.rvs(6, random_state=0)
    a, b = np.arange(1.0, 7), np.arange(7.0, 1, -1) ** 2
    sides = [gaussian(np.zeros(6), turn @ np.diag(v) @ turn.T) for v in (a, b)]
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert frechet_distance(*sides).value == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(sides[0], sides[0]).value == pytest.approx(0, abs=1e-12)


def test_equal_to_scipy_where_covariances_do_not_commute():
    real, fake = map(moments_of, features(24, (400, 350)))
    root = linalg.sqrtm(real.covariance @ fake.covariance)
    trace = np.trace(real.covariance + fake.covariance - 2 * root.real)
    expected = np.square(real.mean - fake.mean).sum() + trace
    assert frechet_distance(real, fake).value == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(fake, real).value == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_are_said():
    deviations = np.array([3.0, 2, 1, 0, 0])
    singular, full = np.diag(deviations**2), np.eye(5)
    result = frechet_distance(gaussian(np.zeros(5), full, 99), gaussian(np.ones(5), singular, 4))
    assert result.value == pytest.approx(5 + np.square(deviations - 1).sum(), rel=1e-12)
    assert result.note.startswith(
        "the generated covariance of 4 samples is singular (rank 3 of 5): more than 5 samples"
    )
    constant = frechet_distance(gaussian(np.zeros(5), singular, 99), gaussian(np.zeros(5), full))
    assert "the real covariance of 99 samples is singular (rank 3 of 5): features" in constant.note
    points = [gaussian(np.full(5, x), np.zeros((5, 5)), 2) for x in (0.0, 2.0)]
    assert frechet_distance(*points).value == pytest.approx(20)


def test_a_factor_of_the_features_is_one_of_the_distance():
    pair = features(24, (400, 350))
    one, hundred = (
        frechet_distance(*(moments_of(scale * x) for x in pair)).value for scale in (1, 100)
    )
    assert hundred == pytest.approx(1e4 * one, rel=1e-10)


@pytest.mark.parametrize("batch", [1, 7, 64, 400])
def test_moments_of_any_batches_are_numpys(batch):
    """A mean far above the deviation, where sums of squares lose precision even in float64."""
    rows = 1e6 + 1e-2 * features(24, (400, 2))[0]
    moments = moments_of(rows, block=batch)
    assert moments.count == 400
    # A sum to 1e6 rounds by 1e-10 at each of up to 400 batches.
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=0, atol=1e-8)
    expected = np.cov(rows, rowvar=False)
    np.testing.assert_allclose(moments.covariance, expected, rtol=0, atol=1e-7 * expected.max())


def test_padding_sharding_and_merging_change_nothing():
    rows = features(24, (400, 2))[0].astype(np.float32)
    expected = moments_of(rows)
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    parts = [Moments(24), Moments(24), Moments(24)]  # the last one stays empty
    for i, start in enumerate(range(0, 400, 48)):
        batch = np.full((48, 24), np.nan, np.float32)
        batch[: len(rows[start : start + 48])] = rows[start : start + 48]
        mask = (np.arange(48) < len(rows[start : start + 48])).astype(np.float32)
        parts[i % 2].update(*(jax.device_put(x, sharding) for x in (batch, mask)))
    parts[0].update(np.zeros((8, 24)), np.zeros(8))
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].count == 400
    np.testing.assert_allclose(parts[0].mean, expected.mean, rtol=1e-13)
    np.testing.assert_allclose(parts[0].covariance, expected.covariance, atol=1e-13)


def test_memory_does_not_grow_with_samples():
    rows = features(64, (128, 2))[0]
    peaks = []
    for batches in (10, 200):
        tracemalloc.start()
        moments = Moments(64)
        for _ in range(batches):
            moments.update(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_a_gaussian_stays_when_moments_go_on():
    rows = features(24, (400, 2))[0]
    moments = moments_of(rows[:200])
    before = moments.gaussian()
    mean, covariance = before.mean.copy(), before.covariance.copy()
    moments.update(rows[200:])
    assert not np.allclose(moments.mean, mean)
    np.testing.assert_array_equal(before.mean, mean)
    np.testing.assert_array_equal(before.covariance, covariance)


def test_infinity_removes_the_bias_of_few_samples():
    """Against the closed form for the distribution itself, over 8 draws."""
    reference = gaussian(np.zeros(8), np.eye(8))
    truth = 8 * 0.5**2  # of N(0.5, I)
    errors = {"infinity": [], "all samples": []}
    for seed in range(8):
        fake = np.random.RandomState(seed).randn(1000, 8) + 0.5
        result = fid_infinity(reference, fake, points=8, smallest=50, seed=seed)
        whole = frechet_distance(reference, moments_of(fake)).value
        assert result.sizes[0] == 50 and result.sizes[-1] == 1000
        assert result.distances[-1] == pytest.approx(whole, rel=1e-10), "all samples, reordered"
        line = stats.linregress(1 / np.asarray(result.sizes), result.distances)
        assert result.value == pytest.approx(line.intercept, rel=1e-9)
        errors["infinity"].append(result.value - truth)
        errors["all samples"].append(result.distances[0] - truth)
    few, infinite = np.mean(errors["all samples"]), np.mean(errors["infinity"])
    assert few > 0.5, "50 samples bias the distance upwards"
    assert abs(infinite) < 0.2 * few


def test_infinity_is_drawn_from_its_seed():
    reference, fake = gaussian(np.zeros(8), np.eye(8)), np.random.RandomState(0).randn(100, 8)
    one, same, other = (
        fid_infinity(reference, fake, points=4, smallest=20, seed=s) for s in (1, 1, 2)
    )
    assert one == same and one.value != other.value


def test_intra_class_is_the_mean_over_classes():
    real, fake = features(24, (400, 350))
    labels = [np.arange(len(x)) % 3 for x in (real, fake)]
    labels[0][labels[0] == 2] = 7  # numbers need not be dense
    labels[1][labels[1] == 2] = 7
    result = intra_class_distance(real, labels[0], fake, labels[1])
    assert list(result.by_class) == [0, 1, 7]
    for label, value in result.by_class.items():
        parts = (moments_of(x[y == label]) for x, y in zip((real, fake), labels, strict=True))
        assert value == frechet_distance(*parts).value
    assert result.value == pytest.approx(np.mean(list(result.by_class.values())), rel=1e-14)
    assert result.note == ""
    few = intra_class_distance(real[:20], np.arange(20) % 2, fake, np.arange(350) % 2)
    assert few.note.startswith("2 of 2 classes, such as 0: the real covariance of 10 samples")


def test_too_few_samples_say_how_many():
    fake = features(24, (400, 350))[1]
    with pytest.raises(UserError, match=r"1 samples, at least 2 needed.*more than 24"):
        frechet_distance(moments_of(fake[:1]), moments_of(fake))
    with pytest.raises(UserError, match="350 generated samples, at least 10000 needed"):
        fid_infinity(moments_of(fake), fake)
    with pytest.raises(UserError, match="points=1"):
        fid_infinity(moments_of(fake), fake, points=1)
    with pytest.raises(UserError, match="smallest=4"):
        fid_infinity(moments_of(fake), fake, points=15, smallest=4)
    with pytest.raises(UserError, match="1 generated samples of class 1, at least 2 needed"):
        intra_class_distance(fake[:4], [0, 0, 1, 1], fake[:3], [0, 0, 1])
    with pytest.raises(UserError, match="0 real samples of class 2"):
        intra_class_distance(fake[:4], [0, 0, 1, 1], fake[:6], [0, 0, 1, 1, 2, 2])


def test_values_that_are_not_finite_are_refused():
    rows = features(24, (400, 2))[0]
    rows[17, 3] = np.inf
    with pytest.raises(UserError, match=r"a batch's sample 17 are not finite \(1 of 400"):
        moments_of(rows)


def test_unlike_dimensions_are_a_defect():
    with pytest.raises(ValueError, match="24 and of 3 dimensions"):
        frechet_distance(moments_of(features(24, (50, 2))[0]), moments_of(np.eye(3)))
    with pytest.raises(ValueError, match="24 dimensions"):
        Moments(24).update(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="dimensions"):
        Moments(24).merge(Moments(3))
    with pytest.raises(ValueError, match="labels"):
        intra_class_distance(np.eye(3), [0, 0], np.eye(3), [0, 0, 0])
