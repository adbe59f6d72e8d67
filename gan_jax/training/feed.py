"""What a training takes: batches that are read ahead, or a split that lies on the devices."""

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
    """Yield what each call takes; close it to end the thread that reads ahead.

    Args:
      split: the training examples.
      parallel: the devices.
      config: of the training; read are `seed`, `train.batch_size` and `data.device_gib`.
      position: examples drawn before.
      draws: how many batches each call takes; the iterator ends with it.
    """
    given = dict(seed=config.seed, position=position, batch_size=config.train.batch_size)
    # pmap wants a slice for each device.
    if parallel.mode == "jit" and fits(split, config.data.device_gib):
        return resident_batches(split, parallel.place_whole, draws=draws, **given)
    shard = (jax.process_index(), jax.process_count())
    source = batches(split, draws=draws, shard=shard, **given)
    return prefetch(source, lambda batch: parallel.place(batch, axis=1))


def abstract_batch(
    spec: DataSpec, phase: Phase, parallel: Parallel, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and shardings of a training batch, as `Parallel.place` makes it."""
    sharding = parallel.split(axis=1)
    return {
        name: jax.ShapeDtypeStruct(
            (phase.draws, batch_size, *stream.shape),
            "uint8" if stream.kind == "image" else stream.dtype,
            sharding=sharding,
        )
        for name, stream in spec.streams.items()
    }
