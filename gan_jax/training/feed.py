"""The input of a training: prefetched batches, or a split that is resident on the devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import jax
from ml_collections import ConfigDict

from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Batch, Phase
from gan_jax.data import Domains, Split
from gan_jax.data.pipeline import batches, prefetch
from gan_jax.data.resident import fits, resident_batches
from gan_jax.parallel.mesh import Parallel
from gan_jax.parallel.resident import Resident


def feed(
    split: Split | Domains,
    parallel: Parallel,
    config: ConfigDict,
    *,
    position: int,
    draws: Iterable[int],
) -> Iterator[Batch | Resident]:
    """Yield the input of each call; close the iterator to end its prefetching thread.

    Args:
      split: the training examples.
      parallel: the devices.
      config: the run's config; `seed`, `train.batch_size` and `data.device_gib` are used.
      position: number of examples drawn before.
      draws: number of batches of each call; the iterator ends when this does.
    """
    given = dict(seed=config.seed, position=position, batch_size=config.train.batch_size)
    # pmap needs a separate slice of the input for each device.
    if parallel.mode == "jit" and fits(split, config.data.device_gib):
        return resident_batches(split, parallel.place_whole, draws=draws, **given)
    shard = (jax.process_index(), jax.process_count())
    source = batches(split, draws=draws, shard=shard, **given)
    return prefetch(source, lambda batch: parallel.place(batch, axis=1))


def abstract_batch(
    spec: DataSpec, phase: Phase, parallel: Parallel, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and shardings of a training batch as placed by `Parallel.place`."""
    sharding = parallel.split(axis=1)
    return {
        name: jax.ShapeDtypeStruct(
            (phase.draws, batch_size, *stream.shape),
            "uint8" if stream.kind == "image" else stream.dtype,
            sharding=sharding,
        )
        for name, stream in spec.streams.items()
    }
