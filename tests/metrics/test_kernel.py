"""KID against torch-fidelity, and its standard error against repeated data sets."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_golden import KID, features, golden

from gan_jax.core.errors import UserError
from gan_jax.metrics.kernel import kernel_distance


def test_equal_to_torch_fidelity():
    result = kernel_distance(*features(24, (400, 350)), **KID)
    expected = golden()["kid"]["torch-fidelity"]
    assert result.value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-10)
    assert result.deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-10)


def test_float32_features_lose_nothing_that_counts():
    """Products in float32 move the value by 1e-5 of its standard error at most, far from 0 too."""
    options = dict(subsets=20, subset_size=100, seed=3)
    for offset in (0.0, 10.0):
        pair = [(x + offset).astype(np.float32) for x in features(200, (400, 350))]
        exact = kernel_distance(*(x.astype(np.float64) for x in pair), **options)
        found = kernel_distance(*pair, **options)
        assert found.value != exact.value
        assert abs(found.value - exact.value) < 1e-5 * exact.standard_error
        assert found.standard_error == pytest.approx(exact.standard_error, rel=1e-5)


def test_the_definition_by_loops():
    real, fake = features(3, (6, 6))
    n = len(real)

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = sum(
        kernel(a[i], a[j]) / (n * (n - 1))
        for a in (real, fake)
        for i in range(n)
        for j in range(n)
        if i != j
    )
    between = sum(kernel(x, y) for x in real for y in fake) / n**2
    result = kernel_distance(real, fake, subsets=2, subset_size=n)
    assert result.value == pytest.approx(within - 2 * between, rel=1e-10)
    assert np.isnan(result.standard_error), "one subset only can be drawn"


def test_unbiased():
    """The mean over 300 pairs of sets of one distribution is zero within three standard errors."""
    draw = np.random.RandomState(0)
    values = [
        kernel_distance(draw.randn(20, 4), draw.randn(20, 4), subsets=2, subset_size=20).value
        for _ in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize("subsets", [3, 40])
def test_the_standard_error_is_the_deviation_over_data_sets(subsets):
    """Within 20 %, of 300 data sets; deviation / sqrt(subsets) says 40 % less where 40 overlap."""
    draw = np.random.RandomState(1)
    results = [
        kernel_distance(
            draw.randn(300, 3),
            draw.randn(300, 3) * 1.3 + 0.5,
            subsets=subsets,
            subset_size=50,
            seed=seed,
        )
        for seed in range(300)
    ]
    actual = np.std([r.value for r in results])
    claimed = np.sqrt(np.mean([r.standard_error**2 for r in results]))
    assert claimed == pytest.approx(actual, rel=0.2)
    if subsets == 40:
        naive = np.sqrt(np.mean([r.deviation**2 for r in results]) / subsets)
        assert naive < 0.6 * actual


def test_too_few_samples_say_how_many():
    real, fake = features(24, (400, 350))
    with pytest.raises(UserError, match="400 real samples, at least 1000 needed"):
        kernel_distance(real, fake)
    with pytest.raises(UserError, match="350 generated samples, at least 380 needed"):
        kernel_distance(real, fake, subset_size=380)
    with pytest.raises(UserError, match="subsets=1"):
        kernel_distance(real, fake, subsets=1)
    with pytest.raises(ValueError, match="agree in D"):
        kernel_distance(real, fake[:, :3], subset_size=100)
    with pytest.raises(ValueError, match=r"not \[N, D\]"):
        kernel_distance(real[0], fake, subset_size=100)
