"""Batches as a pure function of (seed, position): no iterator state that a kill could lose.

Example number `position` of a training is `order(epoch)[position % size]`, with one permutation per
epoch. With several domains, each has its own size and permutations; the position is shared. Batches
of a split in memory are gathered with one indexing operation; a larger split is read example by
example through grain's threads, in the same order. A small split is kept on the devices, where the
train step gathers the same batches itself, see `resident.py`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gan_jax.data.dataset import Arrays, Domains, Split, stack


class Order:
    """The training order: position -> index of an example, with one permutation per epoch.

    Args:
      size: number of examples.
      seed: seed of the run.
      domain: number of the domain; each domain has its own order.
    """

    def __init__(self, size: int, seed: int, domain: int = 0) -> None:
        self.size = size

        def permutation(epoch: int) -> np.ndarray:
            key = [seed, domain << 32 | epoch]
            return np.random.Generator(np.random.Philox(key=key)).permutation(size)

        # Two, since a batch may span two epochs.
        self._epoch = functools.lru_cache(maxsize=2)(permutation)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        positions = np.asarray(positions, np.int64)
        epochs = positions // self.size
        if epochs.size and (epochs == epochs.flat[0]).all():  # most batches
            return self._epoch(int(epochs.flat[0]))[positions % self.size]
        indices = np.empty(positions.shape, np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices[chosen] = self._epoch(int(epoch))[positions[chosen] % self.size]
        return indices


def batches(
    split: Split | Domains,
    *,
    seed: int,
    position: int,
    batch_size: int,
    draws: Iterable[int],
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Arrays]:
    """Yield training batches, leaves [draws, batch_size / shards, ...], images as stored: uint8.

    The step converts them to floats (`gan_jax.training.step.make_step`): a quarter of the bytes is
    transferred, and the devices convert faster than the host.

    Args:
      split: the training examples.
      seed: seed of the order.
      position: examples drawn before, by all processes.
      batch_size: examples per draw, over all processes.
      draws: number of draws in each batch; the iterator ends with it.
      shard: (index, count) of the process, which gets its slice of every batch.
    """
    domains = split.parts.values()
    shared = dict(seed=seed, position=position, batch_size=batch_size, shard=shard)
    with contextlib.ExitStack() as stack:
        sources = [
            stack.enter_context(contextlib.closing(_batches(part, d, draws=each, **shared)))
            for d, (part, each) in enumerate(
                zip(domains, itertools.tee(draws, len(domains)), strict=True)
            )
        ]
        for parts in zip(*sources, strict=True):
            yield {name: array for part in parts for name, array in part.items()}


def _batches(
    split: Split,
    domain: int,
    *,
    seed: int,
    position: int,
    batch_size: int,
    draws: Iterable[int],
    shard: tuple[int, int],
) -> Iterator[Arrays]:
    """Yield the streams of one domain; see `batches`."""
    order = Order(len(split), seed, domain)
    index, count = shard
    local = batch_size // count

    def place(number: np.ndarray) -> np.ndarray:
        """Return the position of this process's example `number`, counted from the start."""
        batch, within = np.divmod(number, local)
        # Modulo like TrainState.position, so that a resumed run sees the same examples.
        return (position + batch * batch_size + index * local + within) % 2**32

    with contextlib.closing(_stream(split, order, place)) as stream:
        start = 0
        for number in draws:
            size = number * local
            if split.in_memory:
                batch = split.stored(order[place(np.arange(start, start + size))])
            else:
                batch = stack(list(itertools.islice(stream, size)))
            start += size
            yield {k: x.reshape(number, local, *x.shape[1:]) for k, x in batch.items()}


def _stream(
    split: Split, order: Order, place: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Arrays]:
    """Yield examples one by one in training order, prefetched by grain's threads."""
    import grain

    class Numbers:
        """An endless data source for grain that returns the example numbers themselves."""

        def __len__(self) -> int:
            return 2**40

        def __getitem__(self, number: int) -> int:
            return number

    def read(number: int) -> Arrays:
        return split.read(int(order[place(np.asarray(number))]))

    options = grain.ReadOptions(num_threads=16, prefetch_buffer_size=256)
    yield from grain.MapDataset.source(Numbers()).map(read).to_iter_dataset(options)


def eval_batches(
    split: Split, batch_size: int, shard: tuple[int, int] = (0, 1)
) -> Iterator[Arrays]:
    """Yield a split in order, leaves [batch_size / shards, ...]; `shard` as in `batches`.

    Two leaves are added: "index" int32, the example's index in the split, and "mask" float32, 0 for
    the copies of the last example that pad the last batch.
    """
    local = batch_size // shard[1]
    for start in range(shard[0] * local, len(split) + shard[0] * local, batch_size):
        place = np.arange(start, start + local)
        index = np.minimum(place, len(split) - 1)
        batch = split.get(index)
        batch["index"] = index.astype(np.int32)
        batch["mask"] = (place < len(split)).astype(np.float32)
        yield batch


def prefetch(source: Iterator[Any], place: Callable[[Any], Any], size: int = 2) -> Iterator[Any]:
    """Prepare items in a background thread while the caller uses earlier ones.

    Args:
      source: iterated and closed in the thread.
      place: applied to each item in the thread, such as a transfer to the devices.
      size: number of items kept ready.

    Yields:
      The results of `place`, in order. Exceptions of the thread are raised here. Closing the
      generator ends the thread.
    """
    ready: queue.Queue = queue.Queue(maxsize=size)
    closed = threading.Event()

    def put(item: tuple[str, Any]) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in source:
                if not put(("item", place(item))):
                    return
            put(("end", None))
        except BaseException as error:
            put(("error", error))
        finally:
            if hasattr(source, "close"):  # a generator: close what it reads from now
                source.close()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closed.set()
        thread.join()
