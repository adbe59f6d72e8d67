"""Validation of the samples given to a metric."""

from __future__ import annotations

import jax
import numpy as np

from gan_jax.core.errors import UserError


def feature_rows(
    metric: str, side: str, features: jax.Array, *, min_samples: int = 1
) -> np.ndarray:
    """Return features as a validated NumPy array.

    Args:
      metric: name of the metric, for error messages.
      side: "real" or "generated", for error messages.
      features: [N, D] floats, on any device.
      min_samples: number of samples that the metric needs.

    Returns:
      [N, D], of the given type.

    Raises:
      UserError: for fewer samples than `min_samples`, NaN or Inf.
      ValueError: for an array of another rank.
    """
    rows = np.asarray(features)
    if rows.ndim != 2:
        raise ValueError(f"{metric}: features {rows.shape} are not [N, D]")
    if len(rows) < min_samples:
        raise UserError(
            f"{metric}: {len(rows)} {side} samples, at least {min_samples} needed: use more samples"
        )
    # A row's sum is finite only if the row is; this needs no temporary array of the features' size.
    bad = np.flatnonzero(~np.isfinite(rows.sum(1, dtype=np.float64)))
    if bad.size:
        raise UserError(
            f"{metric}: features of {side} sample {bad[0]} are not finite ({bad.size} of"
            f" {len(rows)} samples): look at the images and at the weights that made the features"
        )
    return rows


def feature_pair(
    metric: str, real: jax.Array, fake: jax.Array, *, min_samples: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return real and generated features, validated by `feature_rows`, of the same dimension.

    Args:
      metric: name of the metric, for error messages.
      real: [N, D] floats.
      fake: [M, D] floats.
      min_samples: number of real and of generated samples that the metric needs.

    Raises:
      UserError: as in `feature_rows`.
      ValueError: for features of different dimensions.
    """
    rows = (
        feature_rows(metric, "real", real, min_samples=min_samples),
        feature_rows(metric, "generated", fake, min_samples=min_samples),
    )
    if rows[0].shape[1] != rows[1].shape[1]:
        raise ValueError(f"{metric}: features {rows[0].shape} and {rows[1].shape} must agree in D")
    return rows
