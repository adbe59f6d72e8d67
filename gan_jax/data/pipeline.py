"""Batches as a pure function of (seed, position): no iterator state exists that a kill could lose.

Example number `position` of a training is `order(epoch)[position % size]`, with one permutation an
epoch; of several domains each has its own permutations and size, at the position that all share. A
split in memory is gathered with one indexing a batch; a larger one is read example by example
through grain, by as many threads as it takes, in the same order. A small one lies on the devices,
and the train step gathers the same batches itself, see `resident.py`.
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
    """The training order: position -> index of an example, in permutations of all, one an epoch.

    Args:
      size: how many examples there are.
      seed: of the run.
      domain: number of the domain, each of which has an order of its own.
    """

    def __init__(self, size: int, seed: int, domain: int = 0) -> None:
        self.size = size

        def permutation(epoch: int) -> np.ndarray:
            key = [seed, domain << 32 | epoch]
            return np.random.Generator(np.random.Philox(key=key)).permutation(size)

        # Two: a batch crosses from one epoch into the next.
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

    The step makes floats of them (`gan_jax.training.step.make_step`): a quarter of the bytes goes
    to the devices, which convert faster than the host.

    Args:
      split: the training examples.
      seed: of the order.
      position: examples drawn before, by all processes.
      batch_size: examples a draw, over all processes.
      draws: how many draws each batch holds; the iterator ends with it.
      shard: (index, count) of the process: it gets its slice of every batch.
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
        # Modulo as TrainState.position, so that a resumed run sees what an unbroken one does.
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
    """Yield examples one by one in training order, read ahead by grain's threads."""
    import grain

    class Numbers:
        """What grain takes for a data set: the example numbers themselves, without end."""

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
    """Yield a split in order, leaves [batch_size / shards, ...]; `shard` as of `batches`.

    Two leaves are added: "index" int32, the example's place in the split, and "mask" float32, 0 for
    the repetitions of the last example that fill the last batch.
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
    """Prepare items in a background thread while the caller uses the ones before.

    Args:
      source: iterated in the thread, and closed there.
      place: applied there to each item, such as putting it on the devices.
      size: items kept ready.

    Yields:
      What `place` returned, in order. What the thread raised is raised here. Closing the generator
      ends the thread.
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
            if hasattr(source, "close"):  # a generator: what it reads from is closed now, not later
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
