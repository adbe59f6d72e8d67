"""A side of a comparison, real or generated: what one pass over its images leaves for the metrics.

Only what the metrics asked for need is kept: sums alone for the Fréchet distance, so that memory
does not grow with the images, feature vectors for the others. The real side is also kept as a file,
named by what it was made of, so that the next evaluation need not look at the real images again.
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
ARRAYS = (FEATURES, LOGITS, IMAGES, LABELS)  # one row an image


@dataclasses.dataclass(eq=False)
class Side:
    """What is known of the images of one side; what was not asked for is None.

    Attributes:
      count: how many images.
      moments: mean and covariance of their features.
      features: float32 [N, D].
      logits: float32 [N, K].
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      pairs: means over the images of what compares each with its own target, by name.
    """

    count: int = 0
    moments: Moments | Gaussian | None = None
    features: np.ndarray | None = None
    logits: np.ndarray | None = None
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    pairs: dict[str, float] = dataclasses.field(default_factory=dict)

    def has(self, needs: Iterable[str]) -> bool:
        """Return whether all of what is needed was kept."""
        return all(getattr(self, name) is not None for name in needs)


def collect(batches: Iterable[Mapping[str, np.ndarray]], needs: Iterable[str]) -> Side:
    """Go over batches once.

    Args:
      batches: rows by name: "features" where moments or features are needed, "logits", "images",
        "labels"; every other name is a number of a pair of images. "mask" float32 [B] is 0 at rows
        that only fill the last batch.
      needs: what is to be kept.
    """
    side, kept, sums = Side(), {name: [] for name in ARRAYS if name in needs}, {}
    for batch in batches:
        there = batch["mask"] > 0
        rows = {name: np.asarray(x)[there] for name, x in batch.items() if name != "mask"}
        side.count += int(there.sum())
        if MOMENTS in needs:
            if side.moments is None:
                side.moments = Moments(rows[FEATURES].shape[1])
            side.moments.update(rows[FEATURES])
        for name in kept.keys() & rows.keys():  # data without classes have no labels
            kept[name].append(rows[name])
        for name in rows.keys() - {*ARRAYS}:
            sums[name] = sums.get(name, 0.0) + rows[name].astype(np.float64).sum()
    for name, parts in kept.items():
        if parts:
            setattr(side, name, np.concatenate(parts))
    side.pairs = {name: float(total) / side.count for name, total in sums.items()}
    return side


def features_dir() -> Path:
    """Return where real sides are kept: $XDG_CACHE_HOME/gan_jax/features (default ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "gan_jax" / "features"


@functools.cache
def code_fingerprint() -> str:
    """Return the SHA-256 of this package's code: features of other code are computed again."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a real side was made of: equal origins have equal features.

    Attributes:
      name: of data set and split, for people.
      data: fingerprint of the images and of which of them were chosen.
      count: how many.
      protocol: name of the feature network.
      dimensions: of its features.
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
        """Where the moments are kept; the rows are beside, in NAME.rows.npz."""
        record = json.dumps([dataclasses.astuple(self), code_fingerprint()])
        digest = hashlib.sha256(record.encode()).hexdigest()[:16]
        plain = "".join(c if c.isalnum() else "-" for c in f"{self.name}-{self.protocol}")
        return features_dir() / f"{plain}-{self.count}-{digest}.npz"


def kept_side(origin: Origin, needs: Iterable[str]) -> Side | None:
    """Return a side that was kept, if all that is needed of it is there and whole.

    A file that does not fit what it should hold is said to be computed again, in one line.
    """
    path, wanted = origin.path, {MOMENTS, *needs} - {LABELS}
    rows = path.with_suffix(".rows.npz")
    if not path.is_file() or (wanted - {MOMENTS} and not rows.is_file()):
        return None
    try:
        moments = read_statistics(
            path,
            protocol=origin.protocol,
            dimensions=origin.dimensions,
            weights=origin.weights,
        )
        side = Side(moments.count, moments)
        for name, array in (_read_rows(rows) if wanted - {MOMENTS} else {}).items():
            setattr(side, name, array)
            if len(array) != origin.count:
                raise UserError(f"{rows}: {len(array)} rows of {name} for {origin.count} images")
    except UserError as error:
        logger.warning("computing the real features again: %s", error)
        return None
    return side if side.has(wanted) else None


def keep_side(origin: Origin, side: Side) -> None:
    """Keep a side for the next evaluation; a place that cannot be written keeps nothing."""
    arrays = {name: getattr(side, name) for name in (FEATURES, LOGITS, LABELS)}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    path = origin.path
    try:
        write_statistics(path, side.moments, protocol=origin.protocol, weights=origin.weights)
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
