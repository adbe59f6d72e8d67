"""Dataset and Split: named streams of examples behind random access."""

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
      size: how many.
      read: index -> one example, {stream: array without batch axis}.
      read_all: () -> the whole split, {stream: array [size, ...]}, called at first use; None where
        it does not fit in memory.
      rows: places in `read_all` of this split's examples; None where it has all and only those.
    """

    size: int
    read: Callable[[int], Arrays]
    read_all: Callable[[], Arrays] | None = None
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def in_memory(self) -> bool:
        """Whether batches are gathered from arrays, or read example by example."""
        return self.read_all is not None

    @property
    def parts(self) -> dict[str, Split]:
        """The examples by domain: all of them are of one."""
        return {"": self}

    def part(self, domain: str) -> Split:
        """Return the examples that have the streams of a domain: all of them."""
        return self

    @functools.cached_property
    def arrays(self) -> Arrays:
        """What `read_all` returned; only where the split is `in_memory`."""
        return self.read_all()

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Return where in `arrays` the examples at `indices` are."""
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
    """Examples of several domains, none of which has a partner in another.

    Attributes:
      parts: the examples by domain; in training each domain has an order of its own.
    """

    parts: Mapping[str, Split]

    def __len__(self) -> int:
        """Return the size of the largest domain: the others begin again within its epoch."""
        return max(map(len, self.parts.values()))

    def part(self, domain: str) -> Split:
        """Return the examples of a domain."""
        return self.parts[domain]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """What `open_data` returns.

    Attributes:
      spec: what the examples are.
      splits: "train", "eval" and, where the source has an official one, "test"; in a folder with a
        test split and none for validation, "eval" is the same images as "test".
    """

    spec: DataSpec
    splits: Mapping[str, Split | Domains]

    def examples(self, split: str, stream: str) -> Split:
        """Return the examples of a split that have a stream."""
        return self.splits[split].part(self.spec.streams[stream].domain)


def as_floats(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the uint8 streams, which are the images, to float32 in [-1, 1].

    Args:
      batch: arrays of NumPy, or of JAX, also while a step is traced.
    """
    return {k: to_float(x) if x.dtype == np.uint8 else x for k, x in batch.items()}


def stack(examples: Sequence[Arrays]) -> Arrays:
    """Give single examples a batch axis, images as stored."""
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def how_to_preprocess(config: ConfigDict, channels: int) -> dict[str, Any]:
    """Return what `images.preprocess` takes of a config's section "data"."""
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
    """Return pairs as two domains, "a" and "b", of which no example knows its partner.

    Args:
      dataset: of one domain, with images "image" and "target"; labels go with "image".
      eval_pairs: whether the examples to evaluate on stay pairs.
    """
    spec = dataset.spec
    of = {name: "b" if name == "target" else "a" for name in spec.streams}
    streams = {n: dataclasses.replace(s, domain=of[n]) for n, s in spec.streams.items()}
    splits = {
        name: split
        if eval_pairs and name != "train"
        else Domains({d: only(split, [n for n in of if of[n] == d]) for d in ("a", "b")})
        for name, split in dataset.splits.items()
    }
    return Dataset(dataclasses.replace(spec, streams=streams, eval_pairs=eval_pairs), splits)


def only(split: Split, streams: Sequence[str]) -> Split:
    """Return the examples of a split with some of their streams; they share its memory."""
    chosen = lambda arrays: {name: arrays[name] for name in streams}  # noqa: E731
    read_all = (lambda: chosen(split.arrays)) if split.in_memory else None
    return Split(len(split), lambda i: chosen(split.read(i)), read_all, split.rows)


def joined(first: Split, second: Split) -> Split:
    """Return examples with the streams of both, example i of one with example i of the other."""
    both = first.in_memory and second.in_memory

    def read_all() -> Arrays:
        whole = np.arange(len(first))
        return {**first.stored(whole), **second.stored(whole)}

    return Split(
        len(first), lambda i: {**first.read(i), **second.read(i)}, read_all if both else None
    )


def holdout_size(total: int, holdout: float) -> int:
    """Return how many of `total` examples `data.holdout` (a share or a number) keeps from training.

    Raises:
      UserError: nothing would be left for one of the two.
    """
    size = round(total * holdout) if holdout < 1 else int(holdout)
    if not 0 < size < total:
        raise UserError(
            f"data.holdout={holdout:g} of {total} examples leaves {max(total - size, 0)} to train"
            f" and {size} to evaluate on: both need at least 1"
        )
    return size


def split_at_random(total: int, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of (train, eval): the same for every seed; no run sees another's."""
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
