"""Kernel distance of two sets of features: KID."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from scipy.linalg import get_blas_funcs

from gan_jax.core.errors import UserError
from gan_jax.metrics.samples import feature_pair

_ROWS = 128  # rows of a block of the kernel matrix, which then fits in the cache


class KernelResult(NamedTuple):
    """A kernel distance; `deviation`, over subsets, is what other programs report."""

    value: float
    standard_error: float
    deviation: float


def kernel_distance(
    real: jax.Array, fake: jax.Array, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelResult:
    """Return the squared maximum mean discrepancy of features under a cubic kernel (KID).

    Binkowski et al. 2018, arXiv:1801.01401, section 4: k(x, y) = (x.y / D + 1)^3, and the unbiased
    estimate, averaged over random subsets; being unbiased, it may be negative. Equal to
    torch-fidelity with the same seed, and hence the same subsets, to 1e-10 on float64 features.
    Features are centred at the real mean and multiplied in their own type; everything else is
    float64. For float32 features the rounding error is below 1e-5 of the standard error.

    `deviation` is the standard deviation over subsets (torch-fidelity's "std"). It is not the
    standard error: subsets overlap, and many subsets do not make up for few samples. With s^2 the
    variance over subsets of n out of N samples, the variance of a single one over data sets is
    s^2 / (1 - n/N), and that of their mean is s^2 ((n/N) / (1 - n/N) + 1/subsets), by the rules for
    sampling from a finite population and assuming a variance proportional to 1/n. This holds if the
    distributions differ; if they are equal the variance is proportional to 1/n^2, and the standard
    error is overestimated.

    Args:
      real: [N, D] features.
      fake: [M, D] features.
      subsets: number of subsets, at least 2.
      subset_size: number of real and of generated samples in a subset.
      seed: seed of the subsets.

    Returns:
      The mean over subsets; its standard error (NaN if a subset contains all samples); and the
      standard deviation over subsets. Papers usually report the first times 10^3.

    Raises:
      UserError: for fewer samples than `subset_size`, or arguments out of range.
      ValueError: for features of different dimensions.
    """
    if subsets < 2 or subset_size < 2:
        raise UserError(f"kid: subsets={subsets}, subset_size={subset_size}: at least 2 of each")
    sides = feature_pair("kid", real, fake, min_samples=subset_size)
    kind = np.result_type(np.float32, *sides)
    center = sides[0].mean(0, dtype=np.float64).astype(kind)
    along = [_along(rows, center) for rows in sides]
    draw = np.random.RandomState(seed)  # same stream in all versions of NumPy
    both, both_along = np.empty((2 * subset_size, len(center)), kind), np.empty(2 * subset_size)
    values = np.empty(subsets)
    for i in range(subsets):
        for side, rows in enumerate(sides):
            chosen = draw.choice(len(rows), subset_size, replace=False)
            half = slice(side * subset_size, (side + 1) * subset_size)
            both[half], both_along[half] = rows[chosen], along[side][chosen]
        both -= center
        values[i] = _unbiased(both, both_along)
    share = subset_size / min(map(len, sides))
    variance = values.var(ddof=1) * (share / (1 - share) + 1 / subsets) if share < 1 else np.nan
    return KernelResult(float(values.mean()), float(np.sqrt(variance)), float(values.std()))


def _along(features: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return x.c - c.c / 2 for each row x, [N] float64.

    x.y equals (x - c).(y - c) plus these values of x and of y. The product of centred features is
    small, and so is its rounding error.
    """
    center = center.astype(np.float64)
    products = np.einsum("nd,d->n", features, center, dtype=np.float64, casting="safe")
    return products - center @ center / 2


def _unbiased(both: np.ndarray, along: np.ndarray) -> float:
    """Return the unbiased squared MMD (the paper's MMD_u) between the halves of [2n, D]."""
    count, dimensions = len(both) // 2, both.shape[1]
    along = along / dimensions
    # The matrix is symmetric: compute one triangle only (the lower one in BLAS's column order).
    products = get_blas_funcs("syrk", (both,))(1.0, both.T, trans=1, lower=1).T
    above = np.triu(np.ones((_ROWS, _ROWS)), 1)
    within = between = 0.0
    for half in (0, count):
        for start in range(half, half + count, _ROWS):
            stop = min(start + _ROWS, half + count)
            kernel = np.multiply(products[start:stop, start:], 1 / dimensions, dtype=np.float64)
            kernel += along[start:stop, None] + 1
            kernel += along[start:]
            cubes = kernel * kernel * kernel
            own = stop - start
            cubes[:, :own] *= above[:own, :own]
            within += cubes[:, : half + count - start].sum()
            between += cubes[:, half + count - start :].sum()
    return 2 * within / (count * (count - 1)) - 2 * between / count**2
