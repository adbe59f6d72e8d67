"""Kernel distance of two sets of features: KID."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.samples import feature_pair


class KernelResult(NamedTuple):
    """A kernel distance; `deviation` is that of the subsets, which other programs print."""

    value: float
    standard_error: float
    deviation: float


def kernel_distance(
    real: jax.Array, fake: jax.Array, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelResult:
    """Return the squared maximum mean discrepancy of features under a cubic kernel (KID).

    Binkowski et al. 2018, arXiv:1801.01401, section 4: k(x, y) = (x.y / D + 1)^3, and the unbiased
    estimate, averaged over random subsets; unbiased, it may fall below zero. Equal to
    torch-fidelity of the same seed, whose subsets these are, to 1e-10 on features in float64.

    `deviation` is the standard deviation over subsets (torch-fidelity's "std"). The standard error
    is another number: subsets overlap, and many of them don't make up for few samples. With s^2 the
    variance over subsets of n out of N samples, the variance of a single one over data sets is
    s^2 / (1 - n/N), and that of their mean is s^2 ((n/N) / (1 - n/N) + 1/subsets), by the rules for
    sampling from a finite population, for a variance that falls as 1/n. It does where distributions
    differ; for equal ones it falls as 1/n^2, and the standard error given is too large.

    Args:
      real: [N, D] features.
      fake: [M, D] features.
      subsets: how many, at least 2.
      subset_size: samples of each side in a subset.
      seed: of the subsets.

    Returns:
      The mean over subsets; its standard error (nan where a subset holds all samples); and the
      deviation over subsets. Papers print the first times 10^3, most often.

    Raises:
      UserError: for fewer samples than a subset, or numbers out of range.
      ValueError: for features of unlike dimensions.
    """
    if subsets < 2 or subset_size < 2:
        raise UserError(f"kid: subsets={subsets}, subset_size={subset_size}: at least 2 of each")
    sides = feature_pair("kid", real, fake, least=subset_size)
    draw = np.random.RandomState(seed)  # its stream is the same in all versions of NumPy
    values = np.empty(subsets)
    for i in range(subsets):
        chosen = [rows[draw.choice(len(rows), subset_size, replace=False)] for rows in sides]
        values[i] = _unbiased(*(rows.astype(np.float64) for rows in chosen))
    share = subset_size / min(map(len, sides))
    variance = values.var(ddof=1) * (share / (1 - share) + 1 / subsets) if share < 1 else np.nan
    return KernelResult(float(values.mean()), float(np.sqrt(variance)), float(values.std()))


def _unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """Return the unbiased squared discrepancy of [n, D] and [n, D] (MMD_u of the paper)."""
    count = len(x)
    within = [(_kernel_sum(a, a) - _diagonal_sum(a)) / (count * (count - 1)) for a in (x, y)]
    return sum(within) - 2 * _kernel_sum(x, y) / count**2


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1
    return float(np.einsum("ij,ij,ij->", kernel, kernel, kernel))


def _diagonal_sum(x: np.ndarray) -> float:
    return float(((np.einsum("ij,ij->i", x, x) / x.shape[1] + 1) ** 3).sum())
