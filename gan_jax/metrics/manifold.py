"""Precision, recall, density and coverage of two sets of features by nearest neighbours.

Distances are computed on the device as float32 matrix products, in blocks of rows, never as a full
matrix. Their rounding error is bounded; comparisons that are within this bound (few pairs) are
repeated on the host, from differences in float64. The results, ties included, are therefore those
of float64.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.metrics.samples import feature_pair

_BLOCK = 1024  # rows of a block of distances
_SPARE = 8  # candidates for the k-th neighbour beyond the k nearest in float32
_PAIRS = 4096  # pairs computed in float64 at a time


def precision_recall_density_coverage(
    real: jax.Array, fake: jax.Array, *, k: int = 5
) -> dict[str, float]:
    """Return how far the supports of two sets of features overlap.

    Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2, with
    k = 3); density and coverage (Naeem et al. 2020, arXiv:2002.09797, section 3, with k = 5). The
    ball of a sample extends to its k-th nearest neighbour in its own set. The sample itself does
    not count as a neighbour but duplicates do: a sample that occurs k + 1 times has an empty ball.

    Deviation: balls are open, as in the package `prdc` (version 0.2), not closed as in the papers;
    this matters for ties only. Equal to the package on float64 features; on float32 features the
    package computes distances in float32, which creates ties.

    Args:
      real: [N, D] features.
      fake: [M, D] features.
      k: a ball's radius is the distance to the k-th nearest neighbour.

    Returns:
      "precision" and "recall" in [0, 1]; "density", at least 0, about 1 for equal distributions and
      above 1 if generated samples concentrate near real ones; "coverage" in [0, 1].

    Raises:
      UserError: for k below 1, or fewer than k + 1 real or generated samples.
      ValueError: for features of different dimensions.
    """
    return by_neighbours(real, fake, ks=(k,))[k]


def by_neighbours(
    real: jax.Array, fake: jax.Array, *, ks: tuple[int, ...]
) -> dict[int, dict[str, float]]:
    """Return `precision_recall_density_coverage` for several k, in one pass.

    Args:
      real, fake: features [N, D] and [M, D].
      ks: one to four values of k.

    Returns:
      The four values by k, equal to those of separate calls.
    """
    if min(ks) < 1:
        raise UserError(f"prdc: k={min(ks)}: at least 1")
    real, fake = feature_pair("prdc", real, fake, min_samples=max(ks) + 1)
    real_bounds, fake_bounds = _squared_radii(real, ks), _squared_radii(fake, ks)
    balls = np.zeros((len(ks), len(fake)), np.int64)  # real balls around each generated sample
    covered = np.zeros((len(ks), len(real)), bool)
    recalled = np.zeros((len(ks), len(real)), bool)
    center = _center(real)
    columns = _on_device(fake, center)
    for rows in _blocks(len(real)):
        bounds = real_bounds[:, rows]
        found = _inside(*_on_device(real[rows], center), *columns, bounds, fake_bounds)
        in_real, covered[:, rows], recalled[:, rows], unsure = map(np.asarray, found)
        balls += in_real
        i, j = np.nonzero(unsure)
        unsure, squared = unsure[i, j], _squared_distances(real, fake, i + rows.start, j)
        for place in range(len(ks)):
            in_row = (unsure & 1 << 2 * place > 0) & (squared < bounds[place, i])
            in_column = (unsure & 2 << 2 * place > 0) & (squared < fake_bounds[place, j])
            np.add.at(balls[place], j[in_row], 1)
            covered[place, i[in_row] + rows.start] = True
            recalled[place, i[in_column] + rows.start] = True
    return {
        k: {
            "precision": float((balls[place] > 0).mean()),
            "recall": float(recalled[place].mean()),
            "density": float(balls[place].mean() / k),
            "coverage": float(covered[place].mean()),
        }
        for place, k in enumerate(ks)
    }


def _squared_radii(features: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Return the squared distances [len(ks), N] to the k-th nearest neighbours, in float64."""
    wanted = min(max(ks) + _SPARE, len(features) - 1)
    columns = _on_device(features, _center(features))
    radii = np.empty((len(ks), len(features)))
    for rows in _blocks(len(features)):
        own = np.arange(rows.start, rows.stop)
        block = tuple(x[rows] for x in columns)
        neighbours, nearness = map(np.asarray, _nearest(*block, *columns, own, wanted))
        index = np.repeat(own, wanted)
        exact = _squared_distances(features, features, index, neighbours.reshape(-1))
        radii[:, rows] = _kth_smallest(exact.reshape(-1, wanted), ks)
        # Other samples are at least as far as the last candidate's lower bound, and at least at 0.
        largest = radii[:, rows].max(0)
        unsure = own[(largest > -nearness[:, -1]) & (largest > 0)]
        if wanted < len(features) - 1 and unsure.size:
            radii[:, unsure] = _squared_radii_in_float64(features, unsure, ks, wanted)
    return radii


def _kth_smallest(squared: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Return the k-th smallest of each row, [len(ks), rows]."""
    places = [k - 1 for k in ks]
    return np.partition(squared, places, axis=1)[:, places].T


def _squared_radii_in_float64(
    features: np.ndarray, rows: np.ndarray, ks: tuple[int, ...], wanted: int
) -> np.ndarray:
    """Return `_squared_radii` of rows whose neighbours float32 cannot distinguish."""
    center = _center(features)
    block = features[rows] - center
    squared = np.empty((len(rows), len(features)))
    for part in _blocks(len(features)):
        other = features[part] - center
        squared[:, part] = np.square(other).sum(1) - 2 * block @ other.T
    squared[np.arange(len(rows)), rows] = np.inf
    neighbours = np.argpartition(squared, wanted - 1, axis=1)[:, :wanted]
    index = np.repeat(rows, wanted)
    exact = _squared_distances(features, features, index, neighbours.reshape(-1))
    return _kth_smallest(exact.reshape(-1, wanted), ks)


def _squared_distances(
    a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return |a[rows] - b[columns]|^2 in float64; its bits depend on the pair of vectors only."""
    squared = np.empty(len(rows))
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        difference = a[rows[part]].astype(np.float64)
        difference -= b[columns[part]]
        squared[part] = np.einsum("pd,pd->p", difference, difference)
    return squared


def _on_device(features: np.ndarray, center: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Return features minus a center, which keeps products small, and their squared norms."""
    moved = np.empty(features.shape, np.float32)
    for part in _blocks(len(features)):
        moved[part] = features[part] - center
    norms = np.einsum("nd,nd->n", moved, moved, dtype=np.float64).astype(np.float32)
    return jnp.asarray(moved), jnp.asarray(norms)


def _center(features: np.ndarray) -> np.ndarray:
    return features.mean(0, dtype=np.float64)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def _distances(
    rows: jax.Array, row_norms: jax.Array, columns: jax.Array, column_norms: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return squared distances [B, N] in float32, and bounds on their errors.

    With u = 2^-24, the error of an inner product of length D is at most D u |x||y| (1 + small);
    twice that is at most D u (|x|^2 + |y|^2). Centring and the three sums add a few roundings.
    """
    squares = row_norms[:, None] + column_norms
    product = jnp.matmul(rows, columns.T, precision="highest")
    return squares - 2 * product, (rows.shape[1] + 32) * 2.0**-24 * squares


@functools.partial(jax.jit, static_argnames="wanted")
def _nearest(
    rows: jax.Array,
    row_norms: jax.Array,
    columns: jax.Array,
    column_norms: jax.Array,
    own: jax.Array,
    wanted: int,
) -> tuple[jax.Array, jax.Array]:
    """Return the nearest columns [B, wanted], and the negated lower bounds of their distances.

    Bounds are not sliced here: XLA would no longer recognise the top-k and sort instead, which
    takes eight times as long.
    """
    squared, error = _distances(rows, row_norms, columns, column_norms)
    low = jnp.where(jnp.arange(len(columns)) == own[:, None], jnp.inf, squared - error)
    nearness, neighbours = jax.lax.top_k(-low, wanted)
    return neighbours, nearness


@jax.jit
def _inside(
    rows: jax.Array,
    row_norms: jax.Array,
    columns: jax.Array,
    column_norms: jax.Array,
    row_bounds: jax.Array,
    column_bounds: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Count which samples are certainly inside which balls, for squared radii [K, B] and [K, N].

    Returns:
      [K, N] number of row balls that contain each column; [K, B] whether a row's ball contains any
      column; [K, B] whether any column's ball contains the row; and [B, N] uint8, two bits per k
      for undecided pairs: the lower bit for the row's ball, the higher one for the column's.
    """
    squared, error = _distances(rows, row_norms, columns, column_norms)
    low, high = squared - error, squared + error
    counts, covers, recalls, unsure = [], [], [], jnp.zeros(squared.shape, jnp.uint8)
    for k, (of_row, of_column) in enumerate(zip(row_bounds[..., None], column_bounds, strict=True)):
        in_row, in_column = high < of_row, high < of_column
        unsure_row = (~in_row & (low < of_row)).astype(jnp.uint8)
        unsure_column = (~in_column & (low < of_column)).astype(jnp.uint8)
        unsure = unsure | unsure_row << 2 * k | unsure_column << 2 * k + 1
        counts.append(in_row.sum(0))
        covers.append(in_row.any(1))
        recalls.append(in_column.any(1))
    return jnp.stack(counts), jnp.stack(covers), jnp.stack(recalls), unsure
