"""Dataset and Split: named streams of examples with random access."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.images import to_float
from gan_jax.core.spec import DataSpec

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples of one domain by index, images as stored: uint8.

    Attributes:
      size: number of examples.
      read: index -> one example, {stream: array without batch axis}.
      read_all: () -> {stream: array [N, ...]} that holds the whole split, called at first use; None
        if it does not fit in memory.
      rows: indices of this split's examples in the arrays of `read_all`; None if they are all of
        its rows, in order.
    """

    size: int
    read: Callable[[int], Arrays]
    read_all: Callable[[], Arrays] | None = None
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def in_memory(self) -> bool:
        """Whether batches are gathered from arrays rather than read example by example."""
        return self.read_all is not None

    @property
    def parts(self) -> dict[str, Split]:
        """The examples by domain; here there is only one."""
        return {"": self}

    def part(self, domain: str) -> Split:
        """Return the examples of a domain: all of them."""
        return self

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The result of `read_all`; only for a split that is `in_memory`."""
        return self.read_all()

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows of `arrays` that hold the examples at `indices`."""
        return indices if self.rows is None else self.rows[indices]

    def stored(self, indices: np.ndarray) -> Arrays:
        """Return the examples at `indices` as a batch, images as stored: uint8."""
        if self.in_memory:
            places = self.places(indices)
            return {name: array[places] for name, array in self.arrays.items()}
        return stack([self.read(int(i)) for i in indices])

    def get(self, indices: np.ndarray) -> Arrays:
        """Return the examples at `indices` as a batch, images float32 in [-1, 1]."""
        return as_floats(self.stored(indices))


@dataclasses.dataclass(frozen=True, eq=False)
class Domains:
    """Examples of several domains, unpaired.

    Attributes:
      parts: the examples by domain; in training each domain has its own order.
    """

    parts: Mapping[str, Split]

    def __len__(self) -> int:
        """Return the size of the largest domain: the others repeat within its epoch."""
        return max(map(len, self.parts.values()))

    def part(self, domain: str) -> Split:
        """Return the examples of a domain."""
        return self.parts[domain]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: its description and its splits.

    Attributes:
      spec: description of the examples.
      splits: "train", "eval" and, if the source has an official one, "test"; in a folder with a
        test split but no validation split, "eval" is the same images as "test".
      whole: of photographs that are cut into windows, the whole ones by split; their sizes differ,
        so that they are read one by one.
    """

    spec: DataSpec
    splits: Mapping[str, Split | Domains]
    whole: Mapping[str, Split] = dataclasses.field(default_factory=dict)

    def examples(self, split: str, stream: str) -> Split:
        """Return the examples of a split in the domain of a stream."""
        return self.splits[split].part(self.spec.streams[stream].domain)


def as_floats(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the uint8 streams, which are the images, to float32 in [-1, 1].

    Args:
      batch: NumPy or JAX arrays, including tracers.
    """
    return {k: to_float(x) if x.dtype == np.uint8 else x for k, x in batch.items()}


def stack(examples: Sequence[Arrays]) -> Arrays:
    """Stack single examples along a new batch axis, images as stored."""
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def how_to_preprocess(config: ConfigDict, channels: int) -> dict[str, Any]:
    """Return the options of `images.preprocess` from a config's section "data"."""
    return dict(size=list(config.size), channels=channels, resize=config.resize, fit=config.fit)


def array_split(arrays: Arrays) -> Split:
    """Return a split that is already in memory."""
    size = len(next(iter(arrays.values())))
    return Split(size, lambda i: {k: x[i] for k, x in arrays.items()}, lambda: arrays)


def subset(split: Split, indices: np.ndarray) -> Split:
    """Return the examples of `split` at `indices`, in that order; they share its memory."""
    return Split(
        len(indices),
        lambda i: split.read(int(indices[i])),
        (lambda: split.arrays) if split.in_memory else None,
        indices if split.rows is None else split.rows[indices],
    )


def unpaired(dataset: Dataset, *, eval_pairs: bool) -> Dataset:
    """Return paired data as two unpaired domains, "a" and "b".

    Args:
      dataset: of one domain, with images "image" and "target"; labels go with "image".
      eval_pairs: whether the evaluation examples stay paired.
    """
    spec = dataset.spec
    of = {name: "b" if name == "target" else "a" for name in spec.streams}
    streams = {n: dataclasses.replace(s, domain=of[n]) for n, s in spec.streams.items()}
    splits = {
        name: split
        if eval_pairs and name != "train"
        else Domains({d: select_streams(split, [n for n in of if of[n] == d]) for d in ("a", "b")})
        for name, split in dataset.splits.items()
    }
    return Dataset(dataclasses.replace(spec, streams=streams, eval_pairs=eval_pairs), splits)


def select_streams(split: Split, streams: Sequence[str]) -> Split:
    """Return a split restricted to some of its streams; they share its memory."""
    chosen = lambda arrays: {name: arrays[name] for name in streams}  # noqa: E731
    read_all = (lambda: chosen(split.arrays)) if split.in_memory else None
    return Split(len(split), lambda i: chosen(split.read(i)), read_all, split.rows)


def join_streams(first: Split, second: Split) -> Split:
    """Return a split whose example i has the streams of example i of both splits."""
    both = first.in_memory and second.in_memory

    def read_all() -> Arrays:
        whole = np.arange(len(first))
        return {**first.stored(whole), **second.stored(whole)}

    return Split(
        len(first), lambda i: {**first.read(i), **second.read(i)}, read_all if both else None
    )


def holdout_size(total: int, holdout: float) -> int:
    """Return how many of `total` examples `data.holdout` (a fraction or a number) holds out.

    Raises:
      UserError: training or evaluation would have no examples.
    """
    size = round(total * holdout) if holdout < 1 else int(holdout)
    if not 0 < size < total:
        raise UserError(
            f"data.holdout={holdout:g} of {total} examples leaves {max(total - size, 0)} to train"
            f" and {size} to evaluate on: both need at least 1"
        )
    return size


def split_at_random(total: int, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of (train, eval), the same for every seed.

    So no run trains on the held-out examples of another.
    """
    order = np.random.Generator(np.random.Philox(0)).permutation(total)
    size = holdout_size(total, holdout)
    return np.sort(order[size:]), np.sort(order[:size])


def fingerprint(description: Any, arrays: Mapping[str, np.ndarray] | None = None) -> str:
    """Return the SHA-256 of a JSON-able description and the bytes of arrays."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, array in sorted((arrays or {}).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
