"""Frechet distance of Gaussians fitted to features: FID, FID-infinity and intra-class FID.

Moments are accumulated on the host in float64. Devices have no float64 (TPU) or slow float64, and
float32 is not precise enough: the distance is a small difference of large traces. Accumulating on
the device would not save transfers either: for batches below D images the [D, D] products are
larger than the [B, D] features, which other metrics need on the host anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from scipy.linalg import blas, lapack

from gan_jax.core.errors import UserError
from gan_jax.metrics.samples import feature_rows


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean [D] and covariance [D, D] in float64, of `count` samples (0 if unknown).

    `note` is a remark that is reported with every distance to it, such as its origin.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int = 0
    note: str = ""


class Moments:
    """Running count, mean and covariance of features; `update` and `merge` work in place.

    Memory is one [D, D] array of float64, whatever the number of samples. Each batch is centred at
    its own mean and merged by the pairwise update of Chan, Golub & LeVeque (1979, Stanford
    STAN-CS-79-773, eq. 2.1), which is stable for features whose mean is far above their standard
    deviation.
    """

    def __init__(self, dimensions: int) -> None:
        self.count = 0
        self.mean = np.zeros(dimensions)
        # The upper triangle of sum (x - mean)(x - mean)^T, laid out as BLAS updates it in place.
        self._scatter = np.zeros((dimensions, dimensions), order="F")

    def update(self, features: jax.Array, mask: jax.Array | None = None) -> None:
        """Add a batch.

        Args:
          features: [B, D] floats, on any device or sharded over several of this process.
          mask: [B], 0 for padding in the last batch, whose values are ignored; None for no padding.

        Raises:
          UserError: for NaN or Inf.
          ValueError: for another D.
        """
        rows = np.asarray(features)
        if mask is not None:
            rows = rows[np.asarray(mask) != 0]
        rows = feature_rows("frechet", "a batch's", rows.astype(np.float64), min_samples=0)
        if rows.shape[1] != self.mean.size:
            raise ValueError(f"features {rows.shape} of moments of {self.mean.size} dimensions")
        if len(rows):
            mean = rows.mean(0)
            self._join(len(rows), mean, rows - mean)

    def merge(self, other: Moments) -> None:
        """Add the moments of other samples, from other devices, processes or parts of the data.

        Raises:
          ValueError: for another D.
        """
        if other.mean.size != self.mean.size:
            raise ValueError(f"moments of {other.mean.size} and {self.mean.size} dimensions")
        if other.count:
            self._scatter += other._scatter
            self._join(other.count, other.mean, np.empty((0, self.mean.size)))

    def _join(self, count: int, mean: np.ndarray, centred: np.ndarray) -> None:
        total = self.count + count
        shift = mean - self.mean
        # The term of the difference of means is one more row of the product.
        between = np.sqrt(self.count * (count / total)) * shift
        rows = np.concatenate([centred, between[None]])
        self._scatter = blas.dsyrk(1.0, rows.T, beta=1.0, c=self._scatter, overwrite_c=True)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance [D, D] (divided by count - 1), as in pytorch-fid.

        Raises:
          UserError: for fewer than two samples.
        """
        if self.count < 2:
            raise UserError(
                f"frechet: {self.count} samples, at least 2 needed for a covariance: use more"
                f" samples (more than {self.mean.size} for one that is not singular)"
            )
        upper = np.triu(self._scatter)
        return (upper + np.triu(upper, 1).T) / (self.count - 1)

    def gaussian(self) -> Gaussian:
        """Return a copy that later updates do not change."""
        return Gaussian(self.mean.copy(), self.covariance, self.count)


@dataclasses.dataclass(frozen=True)
class FrechetResult:
    """A distance, and a one-line remark for the user ("" for none)."""

    value: float
    note: str


@dataclasses.dataclass(frozen=True)
class InfinityResult:
    """FID-infinity: `distances[i]` is from `sizes[i]` samples, `value` is extrapolated."""

    value: float
    note: str
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class IntraClassResult:
    """The mean over classes of per-class distances, and those distances by class."""

    value: float
    note: str
    by_class: dict[int, float]


def frechet_distance(real: Moments | Gaussian, fake: Moments | Gaussian) -> FrechetResult:
    """Return the squared Frechet distance of two Gaussians (FID; Heusel et al. 2017).

    arXiv:1706.08500, eq. 6: |m - n|^2 + tr(S + T - 2 (S T)^(1/2)). With factors S = A A^T and
    T = B B^T the trace of the root is computed as the sum of the singular values of A^T B. Roots of
    the eigenvalues of S T keep only half the digits, since small eigenvalues are lost in rounding;
    scipy.linalg.sqrtm takes several times as long and may fail if S T is nearly singular. The
    factors come from a pivoted Cholesky decomposition, which reveals the rank.

    Deviation: for a singular covariance (fewer samples than dimensions, constant features) this is
    the distance of the singular Gaussians, which is well defined, with a note; pytorch-fid adds
    1e-6 to both diagonals if its root fails. Equal to pytorch-fid and torch-fidelity to 1e-6
    relative if both covariances have full rank.

    Args:
      real: moments of the reference features.
      fake: moments of the generated images' features.

    Returns:
      The distance, clipped to at least 0, in squared units of the features.

    Raises:
      UserError: for fewer than two samples.
      ValueError: for different dimensions.
    """
    return _distance(_factored(real), _factored(fake))


def fid_infinity(
    real: Moments | Gaussian,
    fake: jax.Array,
    *,
    points: int = 15,
    smallest: int = 5000,
    seed: int = 0,
) -> InfinityResult:
    """Return the Frechet distance extrapolated to infinitely many generated samples.

    Chong & Forsyth 2020, arXiv:1911.07023, section 4: the distance from N generated samples is
    linear in 1/N; the result is the intercept of a line fitted to distances at several N, each from
    a random subset. Sizes are evenly spaced from `smallest` to all, as in the authors' program.
    Deviation: latents are drawn independently, not from the paper's Sobol sequence. The bias from
    the finite number of real samples remains.

    Args:
      real: moments of the reference features.
      fake: [N, D] features of generated images, N at least twice `smallest`.
      points: number of distances that the line is fitted to.
      smallest: samples of the smallest subset; above D, or its covariance is singular.
      seed: seed of the subsets.

    Raises:
      UserError: for too few samples or points, or too small a `smallest`.
      ValueError: for different dimensions.
    """
    if points < 2 or smallest < max(2, points):
        raise UserError(
            f"fid_infinity: points={points}, smallest={smallest}: at least 2 points, and at least"
            " as many samples in the smallest"
        )
    rows = feature_rows("fid_infinity", "generated", fake, min_samples=2 * smallest)
    draw = np.random.RandomState(seed)  # same stream in all versions of NumPy
    reference = _factored(real)
    sizes = [int(size) for size in np.linspace(smallest, len(rows), points)]
    results = []
    for size in sizes:
        moments = moments_of(rows[draw.permutation(len(rows))[:size]])
        results.append(_distance(reference, _factored(moments)))
    distances = [result.value for result in results]
    _, intercept = np.polyfit(1 / np.asarray(sizes), distances, 1)
    return InfinityResult(float(intercept), results[0].note, tuple(sizes), tuple(distances))


def intra_class_distance(
    real: jax.Array, real_labels: Sequence[int], fake: jax.Array, fake_labels: Sequence[int]
) -> IntraClassResult:
    """Return the mean over classes of the Frechet distance within a class (intra-FID).

    Miyato & Koyama 2018, arXiv:1802.05637, in its experiments; all classes have equal weight.
    Classes are processed one at a time, so memory does not grow with their number.

    Args:
      real: [N, D] features.
      real_labels: [N] class numbers.
      fake: [M, D] features of images generated for `fake_labels`.
      fake_labels: [M] class numbers.

    Raises:
      UserError: for a class with fewer than two real or two generated samples.
      ValueError: for labels or dimensions that do not match.
    """
    sides = []
    for side, features, labels in (("real", real, real_labels), ("generated", fake, fake_labels)):
        rows, classes = feature_rows("intra_fid", side, features), np.asarray(labels)
        if classes.shape != (len(rows),):
            raise ValueError(f"{len(rows)} {side} samples with labels {classes.shape}")
        sides.append((side, rows, classes))
    distances, notes = {}, {}
    for label in np.union1d(sides[0][2], sides[1][2]).tolist():
        members = []
        for side, rows, classes in sides:
            chosen = rows[classes == label]
            if len(chosen) < 2:
                raise UserError(
                    f"intra_fid: {len(chosen)} {side} samples of class {label}, at least 2 needed"
                    " of every class: use more samples, and labels of both sides from one set"
                )
            members.append(moments_of(chosen))
        result = frechet_distance(*members)
        distances[label] = result.value
        if result.note:
            notes[label] = result.note
    note = ""
    if notes:
        label, text = next(iter(notes.items()))
        note = f"{len(notes)} of {len(distances)} classes, such as {label}: {text}"
    return IntraClassResult(float(np.mean(list(distances.values()))), note, distances)


def moments_of(features: jax.Array, *, block: int = 4096) -> Moments:
    """Return the moments of an array of features.

    Args:
      features: [N, D] floats.
      block: number of samples converted to float64 at a time.
    """
    moments = Moments(features.shape[1])
    for start in range(0, len(features), block):
        moments.update(features[start : start + block])
    return moments


@dataclasses.dataclass(frozen=True, eq=False)
class _Factored:
    mean: np.ndarray
    trace: float
    factor: np.ndarray  # [D, rank]; factor factor^T is the covariance
    count: int
    note: str


def _factored(side: Moments | Gaussian) -> _Factored:
    covariance = side.covariance
    packed, pivots, rank, _ = lapack.dpstrf(covariance, lower=1)
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    note = side.note if isinstance(side, Gaussian) else ""
    return _Factored(side.mean, float(np.trace(covariance)), factor, side.count, note)


def _distance(real: _Factored, fake: _Factored) -> FrechetResult:
    if real.mean.size != fake.mean.size:
        raise ValueError(f"features of {real.mean.size} and of {fake.mean.size} dimensions")
    root = np.linalg.svd(real.factor.T @ fake.factor, compute_uv=False).sum()
    value = np.square(real.mean - fake.mean).sum() + real.trace + fake.trace - 2 * root
    notes = [_rank_note("real", real), _rank_note("generated", fake), real.note, fake.note]
    return FrechetResult(max(float(value), 0.0), "; ".join(filter(None, notes)))


def _rank_note(name: str, side: _Factored) -> str:
    dimensions, rank = side.factor.shape
    if rank == dimensions:
        return ""
    samples = f"of {side.count} samples " if side.count else ""
    cause = (
        f": more than {dimensions} samples needed, fewer bias the distance upwards"
        if 0 < side.count <= dimensions
        else ": features that are constant or depend on others"
    )
    return (
        f"the {name} covariance {samples}is singular (rank {rank} of {dimensions}){cause};"
        " the distance is that of singular Gaussians, nothing was added to the diagonal"
    )
