"""Statistics of a set of images, real or generated, from which metrics are computed.

They are collected in one pass, and hold only what the requested metrics need: for the Fréchet
distance running sums, whose memory does not grow with the number of images, for others the feature
vectors. Statistics of real images are cached in a file for the next evaluation.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.files import PACKAGE, written_whole
from gan_jax.metrics.frechet import Gaussian, Moments
from gan_jax.metrics.statistics import read_statistics, write_statistics

logger = logging.getLogger(__name__)

MOMENTS, FEATURES, LOGITS, IMAGES, LABELS = "moments", "features", "logits", "images", "labels"
ARRAYS = (FEATURES, LOGITS, IMAGES, LABELS)  # one row per image


@dataclasses.dataclass(eq=False)
class ImageStatistics:
    """Statistics of a set of images; fields that no metric needs are None.

    Attributes:
      count: number of images.
      moments: mean and covariance of their features.
      features: float32 [N, D].
      logits: float32 [N, K].
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      pairs: mean distances between each image and its own target, by name.
    """

    count: int = 0
    moments: Moments | Gaussian | None = None
    features: np.ndarray | None = None
    logits: np.ndarray | None = None
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    pairs: dict[str, float] = dataclasses.field(default_factory=dict)

    def has(self, needs: Iterable[str]) -> bool:
        """Return whether all of the needed fields are present."""
        return all(getattr(self, name) is not None for name in needs)


def collect(batches: Iterable[Mapping[str, np.ndarray]], needs: Iterable[str]) -> ImageStatistics:
    """Collect the statistics of batches in one pass.

    Args:
      batches: per-image arrays by name: "features" if moments or features are needed, "logits",
        "images", "labels"; any other name is a distance [B] between an image and its target. "mask"
        float32 [B] is 0 for padding in the last batch.
      needs: the fields of `ImageStatistics` to collect.
    """
    statistics, kept, sums = ImageStatistics(), {name: [] for name in ARRAYS if name in needs}, {}
    for batch in batches:
        there = batch["mask"] > 0
        rows = {name: np.asarray(x)[there] for name, x in batch.items() if name != "mask"}
        statistics.count += int(there.sum())
        if MOMENTS in needs:
            if statistics.moments is None:
                statistics.moments = Moments(rows[FEATURES].shape[1])
            statistics.moments.update(rows[FEATURES])
        for name in kept.keys() & rows.keys():  # data without classes have no labels
            kept[name].append(rows[name])
        for name in rows.keys() - {*ARRAYS}:
            sums[name] = sums.get(name, 0.0) + rows[name].astype(np.float64).sum()
    for name, parts in kept.items():
        if parts:
            setattr(statistics, name, np.concatenate(parts))
    statistics.pairs = {name: float(total) / statistics.count for name, total in sums.items()}
    return statistics


def features_dir() -> Path:
    """Return the cache folder: $XDG_CACHE_HOME/gan_jax/features (default ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "gan_jax" / "features"


@functools.cache
def code_fingerprint() -> str:
    """Return the SHA-256 of this package's code; changed code invalidates the cache."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class CacheKey:
    """Identifies cached statistics of real images: equal keys mean equal features.

    Attributes:
      name: name of data set and split, readable in the file name.
      data: fingerprint of the images and of which of them were chosen.
      count: number of images.
      protocol: name of the feature network.
      dimensions: dimension of its features.
      weights: fingerprint of its variables.
    """

    name: str
    data: str
    count: int
    protocol: str
    dimensions: int
    weights: str

    @property
    def path(self) -> Path:
        """File of the moments, NAME.npz; per-image arrays are in NAME.rows.npz next to it."""
        record = json.dumps([dataclasses.astuple(self), code_fingerprint()])
        digest = hashlib.sha256(record.encode()).hexdigest()[:16]
        plain = "".join(c if c.isalnum() else "-" for c in f"{self.name}-{self.protocol}")
        return features_dir() / f"{plain}-{self.count}-{digest}.npz"


def load_cached(key: CacheKey, needs: Iterable[str]) -> ImageStatistics | None:
    """Return cached statistics, or None if a needed field is missing or a file is damaged.

    A damaged or mismatched file is reported with a one-line warning.
    """
    path, wanted = key.path, {MOMENTS, *needs} - {LABELS}
    rows = path.with_suffix(".rows.npz")
    if not path.is_file() or (wanted - {MOMENTS} and not rows.is_file()):
        return None
    try:
        moments = read_statistics(
            path,
            protocol=key.protocol,
            dimensions=key.dimensions,
            weights=key.weights,
        )
        statistics = ImageStatistics(moments.count, moments)
        for name, array in (_read_rows(rows) if wanted - {MOMENTS} else {}).items():
            setattr(statistics, name, array)
            if len(array) != key.count:
                raise UserError(f"{rows}: {len(array)} rows of {name} for {key.count} images")
    except UserError as error:
        logger.warning("computing the real features again: %s", error)
        return None
    return statistics if statistics.has(wanted) else None


def save_cached(key: CacheKey, statistics: ImageStatistics) -> None:
    """Cache statistics for the next evaluation; only warn if the file cannot be written."""
    arrays = {name: getattr(statistics, name) for name in (FEATURES, LOGITS, LABELS)}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    path = key.path
    try:
        write_statistics(path, statistics.moments, protocol=key.protocol, weights=key.weights)
        if arrays.keys() - {LABELS}:
            with written_whole(path.with_suffix(".rows.npz")) as file:
                np.savez(file, sha256=np.str_(_digest(arrays)), **arrays)
    except OSError as error:
        logger.warning("cannot keep the real features in %s (%s)", path, error.strerror)


def _read_rows(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path}: not an .npz file of features, or damaged") from None
    if str(arrays.pop("sha256", "")) != _digest(arrays):
        raise UserError(f"{path}: damaged, its content is not what its SHA-256 says")
    return arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
