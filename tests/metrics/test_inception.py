"""The Inception Score against torch-fidelity and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_golden import golden, logits

from gan_jax.core.errors import UserError
from gan_jax.metrics.inception import inception_score


@pytest.mark.parametrize("splits", [1, 10])
def test_equal_to_torch_fidelity(splits):
    mean, deviation = inception_score(logits(), splits=splits)
    expected = golden()["inception_score"]["torch-fidelity"][str(splits)]
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-10)
    assert deviation == pytest.approx(expected["inception_score_std"], rel=1e-10)


def test_bounds():
    """1 for a constant classifier, K for certain predictions with balanced classes."""
    assert inception_score(np.zeros((50, 7)))[0] == pytest.approx(1)
    sure = 1e4 * np.tile(np.eye(7), (10, 1))
    assert inception_score(sure, splits=1)[0] == pytest.approx(7)
    only_three = 1e4 * np.tile(np.eye(7)[:3], (10, 1))  # the others underflow everywhere
    assert inception_score(only_three, splits=1)[0] == pytest.approx(3)


def test_order_by_class_does_not_matter():
    """Unshuffled, each of ten splits would hold one class and score 1."""
    by_class = 1e2 * np.repeat(np.eye(10), 100, axis=0)
    assert inception_score(by_class)[0] > 9


def test_the_constant_of_logits_does_not_matter():
    shifted = logits() + np.random.RandomState(0).randn(233, 1) * 100
    assert inception_score(shifted) == pytest.approx(inception_score(logits()), rel=1e-10)


def test_too_few_samples_say_how_many():
    with pytest.raises(UserError, match="9 generated samples, at least 10 needed"):
        inception_score(logits()[:9])
    with pytest.raises(UserError, match="splits=0"):
        inception_score(logits(), splits=0)
    with pytest.raises(UserError, match="sample 0 are not finite"):
        inception_score(np.full((20, 3), np.nan))
