"""What every metric asks of the samples that it is given."""

from __future__ import annotations

import jax
import numpy as np

from gan_jax.core.errors import UserError


def feature_rows(metric: str, side: str, features: jax.Array, *, least: int = 1) -> np.ndarray:
    """Return features as a NumPy array that a metric can compute with.

    Args:
      metric: its name, for messages.
      side: whose features: "real" or "generated".
      features: [N, D] floats, on any device.
      least: samples that the metric needs.

    Returns:
      [N, D], of the type given.

    Raises:
      UserError: for fewer samples than `least`, or a value that is not finite.
      ValueError: for an array of another rank.
    """
    rows = np.asarray(features)
    if rows.ndim != 2:
        raise ValueError(f"{metric}: features {rows.shape} are not [N, D]")
    if len(rows) < least:
        raise UserError(
            f"{metric}: {len(rows)} {side} samples, at least {least} needed: use more samples"
        )
    # The sum of a row is finite only if all of it is, and needs no array of the features' size.
    bad = np.flatnonzero(~np.isfinite(rows.sum(1, dtype=np.float64)))
    if bad.size:
        raise UserError(
            f"{metric}: features of {side} sample {bad[0]} are not finite ({bad.size} of"
            f" {len(rows)} samples): look at the images and at the weights that made the features"
        )
    return rows


def feature_pair(
    metric: str, real: jax.Array, fake: jax.Array, *, least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of both sides as `feature_rows` does, of the same dimension.

    Args:
      metric: its name, for messages.
      real: [N, D] floats.
      fake: [M, D] floats.
      least: samples that the metric needs of each side.

    Raises:
      UserError: as `feature_rows`.
      ValueError: for features of unlike dimensions.
    """
    rows = (
        feature_rows(metric, "real", real, least=least),
        feature_rows(metric, "generated", fake, least=least),
    )
    if rows[0].shape[1] != rows[1].shape[1]:
        raise ValueError(f"{metric}: features {rows[0].shape} and {rows[1].shape} must agree in D")
    return rows
