"""Means over a split from per-batch sums and counts, exact despite padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax


def masked_sums(values: Mapping[str, jax.Array], mask: jax.Array) -> dict[str, jax.Array]:
    """Return the sum of each value and "count", as a task's `eval_step` does.

    Args:
      values: per-example values, [B] each.
      mask: [B] float32, 0 for padding in the last batch.
    """
    return {**{name: (mask * value).sum() for name, value in values.items()}, "count": mask.sum()}


def means(totals: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean of each value from the totals of `masked_sums` over a whole split."""
    count = float(totals["count"])
    return {name: float(total) / count for name, total in totals.items() if name != "count"}
