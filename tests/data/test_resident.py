"""Batches gathered on the devices equal those that the host would make."""

from __future__ import annotations

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from flax import struct

import gan_jax
from gan_jax.core.task import Phase
from gan_jax.data import resident
from gan_jax.data.dataset import Split, array_split, subset
from gan_jax.data.pipeline import batches
from gan_jax.experiment.train import train
from gan_jax.parallel.mesh import make_parallel

SIZE, BATCH = 23, 8


def numbered(size: int = SIZE) -> Split:
    """Return a split whose examples tell which they are."""
    index = np.arange(size)
    image = np.broadcast_to(index[:, None, None, None], (size, 2, 2, 1)).astype(np.uint8)
    return array_split({"image": image, "label": index.astype(np.int32)})


SPLITS = {
    "whole": numbered(),
    "part": subset(subset(numbered(), np.arange(22, 0, -1)), np.arange(3, 20)),
}


@pytest.mark.parametrize("kind", list(SPLITS))
@pytest.mark.parametrize("position", [0, 13, 2**32 - 24])
def test_the_batches_are_those_of_the_host(
    kind: str, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "STRETCH", 29)  # several stretches, one shorter than a call
    given = dict(seed=1, position=position, batch_size=BATCH)
    draws = [1, 2, 1, 5, 1, 1]
    feed = resident.resident_batches(SPLITS[kind], jax.device_put, draws=draws, **given)
    for expected, got in zip(batches(SPLITS[kind], draws=draws, **given), feed, strict=True):
        drawn = got.gather(jnp.uint32(position), BATCH)
        chex.assert_trees_all_equal(jax.device_get(drawn), expected)
        position = (position + len(expected["label"]) * BATCH) % 2**32


@struct.dataclass
class Counter:
    """The part of a TrainState that gathering needs."""

    position: jax.Array
    seen: jax.Array


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize("devices", [1, 8])
def test_every_device_gathers_its_slice(devices: int) -> None:
    parallel = make_parallel("jit", devices)
    given = dict(seed=1, position=13, batch_size=BATCH, draws=[2, 2])

    def step(phase: Phase, state: Counter, batch: resident.Resident, key: jax.Array) -> tuple:
        batch = batch.gather(state.position, BATCH)
        labels = batch["label"]
        assert labels.shape == (2, BATCH // devices)
        position = state.position + np.uint32(2 * BATCH)
        gathered = [jax.lax.all_gather(x, ("data", "fsdp"), tiled=True) for x in labels]
        seen = jnp.stack(gathered if devices > 1 else list(labels))
        return Counter(position, seen), {}

    compiled = parallel.compile_step(step)
    start = Counter(np.uint32(13), np.zeros((2, BATCH), np.int32))
    state, key = parallel.place_whole(start), parallel.place_whole(jax.random.key(0))
    feed = resident.resident_batches(SPLITS["part"], parallel.place_whole, **given)
    for expected, held in zip(batches(SPLITS["part"], **given), feed, strict=True):
        assert held.arrays[0]["label"].sharding.is_fully_replicated
        state, _ = compiled(Phase(), state, held, key)
        assert (state.seen == expected["label"]).all()


def test_what_fits() -> None:
    split = numbered(10)  # 4 + 4 bytes per example
    assert resident.fits(split, 80 / 2**30)
    assert not resident.fits(split, 79 / 2**30)
    assert not resident.fits(Split(10, split.read), 1.0), "not in memory"


@pytest.mark.parametrize(
    "name", ["classifier", pytest.param("dcgan", marks=pytest.mark.all_configs)]
)
def test_a_training_computes_what_it_does_from_the_host(name: str, tmp_path: Path) -> None:
    changes, states = dict(train__steps=3, train__save_every=3, train__steps_per_call=2), []
    for gib in (0.25, 0.0):
        workdir = tmp_path / str(gib)
        train(smoke_config(name, data__device_gib=gib, **changes), workdir)
        states.append(jax.device_get(gan_jax.load(workdir, checkpoint="latest").state))
    chex.assert_trees_all_close(*states, rtol=1e-4, atol=1e-5)
