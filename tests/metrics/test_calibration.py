"""Classifier metrics against scikit-learn and values recorded from torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from gan_jax.metrics.calibration import (
    calibration_sums,
    class_accuracies,
    confusion_sums,
    expected_calibration_error,
    top_k_hits,
)

# 200 examples of 7 classes by a formula; two thirds of the labels are the largest logit.
LOGITS = (3 * np.sin(np.arange(1400.0) ** 1.3)).reshape(200, 7).astype(np.float32)
LABELS = np.where(np.arange(200) % 3 == 0, np.arange(200) % 7, LOGITS.argmax(1)).astype(np.int32)
# torchmetrics 1.9.0: MulticlassCalibrationError(7, n_bins, norm="l1") by bins, and
# MulticlassAccuracy(7, top_k=k, average="micro") by k, on the arrays above.
TORCHMETRICS_ECE = {15: 0.21022126, 5: 0.20826527}
TORCHMETRICS_TOP = {1: 0.70, 2: 0.77, 5: 0.91}


def sums(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """Return the totals over batches of 64; the padding of the last one must not count."""
    totals: dict[str, np.ndarray] = {}
    for start in range(0, len(logits), 64):
        place = np.arange(start, start + 64)
        index, mask = np.minimum(place, len(logits) - 1), (place < len(logits)).astype(np.float32)
        given = dict(logits=logits[index], labels=labels[index], mask=mask)
        found = {**calibration_sums(**given, bins=bins), "confusion": confusion_sums(**given)}
        for name, value in found.items():
            totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)
    return totals


def test_calibration_is_torchmetrics():
    for bins, expected in TORCHMETRICS_ECE.items():
        totals = sums(LOGITS, LABELS, bins)
        assert expected_calibration_error(totals) == pytest.approx(expected, abs=1e-6)
        assert totals["bin_count"].sum() == 200


def test_calibration_by_hand():
    """Confidences of one half, right three times of four; and of 1, always right."""
    even = np.zeros((4, 2), np.float32)
    sure = np.array([[50.0, -50.0]] * 6, np.float32)
    logits, labels = np.concatenate([even, sure]), np.array([0, 0, 0, 1] + [0] * 6)
    totals = sums(logits, labels)
    assert totals["bin_count"][7] == 4 and totals["bin_count"][14] == 6
    assert expected_calibration_error(totals) == pytest.approx(0.4 * 0.25)


def test_top_k_is_torchmetrics():
    for k, expected in TORCHMETRICS_TOP.items():
        found = np.asarray(top_k_hits(logits=LOGITS, labels=LABELS, k=k))
        assert set(found) <= {0.0, 1.0}
        assert found.mean() == pytest.approx(expected, abs=1e-6)
        assert found.mean() == pytest.approx(
            metrics.top_k_accuracy_score(LABELS, LOGITS, k=k, labels=np.arange(7))
        )


def test_equal_logits_are_no_hit_for_all():
    """A constant classifier is right by chance only."""
    found = top_k_hits(logits=np.zeros((10, 10), np.float32), labels=np.arange(10), k=3)
    assert np.asarray(found).tolist() == [1, 1, 1] + [0] * 7


def test_confusion_is_sklearns():
    labels = np.where(LABELS == 4, 3, LABELS)  # a class without examples
    found = sums(LOGITS, labels)["confusion"]
    expected = metrics.confusion_matrix(labels, LOGITS.argmax(1), labels=np.arange(7))
    np.testing.assert_array_equal(found, expected)
    shares = class_accuracies(found)
    assert np.isnan(shares).tolist() == [False] * 4 + [True] + [False] * 2
    recalls = metrics.recall_score(
        labels, LOGITS.argmax(1), average=None, labels=[0, 1, 2, 3, 5, 6]
    )
    np.testing.assert_allclose(shares[[0, 1, 2, 3, 5, 6]], recalls)
