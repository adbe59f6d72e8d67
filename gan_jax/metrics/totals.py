"""Means over a split that is passed batch by batch: sums and counts, exact for a padded batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax


def masked_sums(values: Mapping[str, jax.Array], mask: jax.Array) -> dict[str, jax.Array]:
    """Return what a Task's `eval_step` does: the sum of each value, and "count".

    Args:
      values: [B] each, one number an example.
      mask: [B] float32, 0 for the padding of the last batch.
    """
    return {**{name: (mask * value).sum() for name, value in values.items()}, "count": mask.sum()}


def means(totals: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean of each value from the totals of `masked_sums` over a whole split."""
    count = float(totals["count"])
    return {name: float(total) / count for name, total in totals.items() if name != "count"}
