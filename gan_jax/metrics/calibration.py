"""Classifier metrics: top-k accuracy, calibration, confusion counts, per-class accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BINS = 15  # as in Guo et al.


def top_k_hits(*, logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Return 1 if the label is among the k largest logits, else 0: [B] float32.

    Ties are broken in favour of the lower class, as by argmax.

    Args:
      logits: [B, K].
      labels: integers [B] in [0, K).
      k: in [1, K].
    """
    _, best = jax.lax.top_k(logits, k)
    return (best == labels[:, None]).any(-1).astype(jnp.float32)


def calibration_sums(
    *, logits: jax.Array, labels: jax.Array, mask: jax.Array, bins: int = BINS
) -> dict[str, jax.Array]:
    """Return counts, confidences and hits per confidence bin, summed over a batch; [bins] each.

    The confidence is the largest class probability; bin m is (m / bins, (m + 1) / bins], as in Guo
    et al. 2017 (arXiv:1706.04599, section 2).

    Args:
      logits: [B, K].
      labels: integers [B] in [0, K).
      mask: [B] float32, 0 for padding in the last batch.
      bins: number of bins of equal width.
    """
    confidence = jax.nn.softmax(logits.astype(jnp.float32)).max(-1)
    hits = (logits.argmax(-1) == labels).astype(jnp.float32)
    place = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    add = lambda values: jnp.zeros(bins).at[place].add(mask * values)  # noqa: E731
    return {
        "bin_count": add(jnp.ones_like(mask)),
        "bin_confidence": add(confidence),
        "bin_hits": add(hits),
    }


def expected_calibration_error(totals: Mapping[str, Any]) -> float:
    """Return the ECE from the totals of `calibration_sums` (arXiv:1706.04599, eq. 3).

    The mean over examples of |accuracy - confidence| of their bin, in [0, 1].

    Equal to torchmetrics' MulticlassCalibrationError, except that its bins are closed on the other
    side, so that confidences of exactly 1 fall outside its last bin.
    """
    count, confidence, hits = (
        np.asarray(totals[f"bin_{name}"], np.float64) for name in ("count", "confidence", "hits")
    )
    return float(np.abs(hits - confidence).sum() / count.sum())


def confusion_sums(*, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
    """Return counts [K, K], summed over a batch: rows are true classes, columns predicted ones.

    Args:
      logits: [B, K].
      labels: integers [B] in [0, K).
      mask: [B] float32, 0 for padding in the last batch.
    """
    classes = logits.shape[-1]
    return jnp.zeros((classes, classes)).at[labels, logits.argmax(-1)].add(mask)


def class_accuracies(confusion: np.ndarray) -> np.ndarray:
    """Return the accuracy within each true class (its recall), [K].

    Args:
      confusion: [K, K], totals of `confusion_sums`.

    Returns:
      [K] in [0, 1]; NaN for a class without examples.
    """
    confusion = np.asarray(confusion, np.float64)
    total = confusion.sum(1)
    return np.divide(np.diag(confusion), total, out=np.full(len(total), np.nan), where=total > 0)
