"""Precision, recall, density and coverage of two sets of features by their nearest neighbours.

Distances come from matrix products in float32 on the device, in blocks of rows, and never as a full
matrix. How far such a distance may be off is known, and it decides only what is further from its
bound than that; the few pairs that are left are decided by differences in float64 on the host.
What comes out is what float64 gives for the features as they are, ties included.
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
_SPARE = 8  # neighbours beyond the k-th among which float32 looks for it
_PAIRS = 4096  # pairs whose differences are in float64 at a time


def precision_recall_density_coverage(
    real: jax.Array, fake: jax.Array, *, k: int = 5
) -> dict[str, float]:
    """Return how much of the one set lies where the other is.

    Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2, who take
    k = 3); density and coverage (Naeem et al. 2020, arXiv:2002.09797, section 3, who take k = 5).
    The ball of a sample reaches to its k-th nearest neighbour in its own set, itself not counted; a
    copy of it counts, so that a sample that is there k + 1 times has an empty ball.

    Deviation: balls are open, as in the package `prdc` (version 0.2), where the papers' are closed;
    that matters only for distances that are equal. This is equal to the package given float64;
    given float32 it rounds distances to that, which makes some of them equal.

    Args:
      real: [N, D] features.
      fake: [M, D] features.
      k: the neighbour that bounds a ball.

    Returns:
      "precision" and "recall" in [0, 1]; "density" from 0, about 1 for equal distributions, and
      above 1 where samples crowd around real ones; "coverage" in [0, 1].

    Raises:
      UserError: for k below 1, or fewer samples than k + 1 on a side.
      ValueError: for features of unlike dimensions.
    """
    return by_neighbours(real, fake, ks=(k,))[k]


def by_neighbours(
    real: jax.Array, fake: jax.Array, *, ks: tuple[int, ...]
) -> dict[int, dict[str, float]]:
    """Return what `precision_recall_density_coverage` does for several k, in one pass.

    Args:
      real, fake: as there.
      ks: one to four.

    Returns:
      The four numbers by k, equal to those of a pass each.
    """
    if min(ks) < 1:
        raise UserError(f"prdc: k={min(ks)}: at least 1")
    real, fake = feature_pair("prdc", real, fake, least=max(ks) + 1)
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
        radii[:, rows] = _of_candidates(exact.reshape(-1, wanted), ks)
        # Who is not a candidate is at least as far as the bound of the last one, and never below 0.
        largest = radii[:, rows].max(0)
        unsure = own[(largest > -nearness[:, -1]) & (largest > 0)]
        if wanted < len(features) - 1 and unsure.size:
            radii[:, unsure] = _squared_radii_in_float64(features, unsure, ks, wanted)
    return radii


def _of_candidates(squared: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Return the k-th smallest of each row, [len(ks), rows]."""
    places = [k - 1 for k in ks]
    return np.partition(squared, places, axis=1)[:, places].T


def _squared_radii_in_float64(
    features: np.ndarray, rows: np.ndarray, ks: tuple[int, ...], wanted: int
) -> np.ndarray:
    """Return what `_squared_radii` does, for rows whose neighbours float32 cannot tell apart."""
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
    return _of_candidates(exact.reshape(-1, wanted), ks)


def _squared_distances(
    a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return |a[rows] - b[columns]|^2 in float64, the same bits wherever the pair stands."""
    squared = np.empty(len(rows))
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        difference = a[rows[part]].astype(np.float64)
        difference -= b[columns[part]]
        squared[part] = np.einsum("pd,pd->p", difference, difference)
    return squared


def _on_device(features: np.ndarray, center: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Return features about a center, which makes products small, and their squared norms."""
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
    """Return squared distances [B, N] in float32, and how far they may be off.

    With u = 2^-24: a product of length D is off by at most D u |x||y| (1 + small), which twice is
    at most D u (|x|^2 + |y|^2); moving to the center and the three sums round a few times more.
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
    """Return the nearest columns [B, wanted], and minus the lower bound of each one's distance.

    Slicing the bounds here would hide the top-k from XLA, which then sorts: eight times the time.
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
    """Return what is certain about who is in whose ball, for bounds [K, B] and [K, N].

    Returns:
      [K, N] balls of rows around each column; [K, B] whether a row's ball holds a column; [K, B]
      whether a column's ball holds the row; and [B, N] uint8 of what is not certain, two bits a k:
      the lower for the ball of the row, the higher for that of the column.
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
