"""One step, any machine: collectives give the same results under jit and pmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from gan_jax.core.errors import UserError
from gan_jax.core.keys import NAMES, image_keys, named_keys
from gan_jax.core.task import Phase
from gan_jax.parallel.axes import axis_gather, axis_index, axis_mean, axis_sum, example_keys
from gan_jax.parallel.mesh import AXES, make_parallel

BATCH, DRAWS = 16, 2
MODES = (("jit", 1), ("jit", 8), ("pmap", 8), ("pmap", 2))


def step(phase: Phase, state: dict, batch: dict, key: jax.Array) -> tuple[dict, dict]:
    """Use all collectives of a step."""
    x = batch["x"]  # [draws, B]
    keys = example_keys(key, x.shape[1])
    noise = jax.vmap(lambda k: jax.random.normal(k, ()))(keys)
    whole = axis_gather(jnp.stack([x[0], noise], -1))
    new = {
        "whole": whole,
        "mean": axis_mean(x.mean(1)),
        "sum": axis_sum((state["sum"] * 0 + x.sum(), x[1].sum())),
        "first": axis_mean(jnp.float32(axis_index() == 0)),
    }
    return new | {"sum": new["sum"][0]}, {"loss": x.mean(), "other": new["sum"][1]}


def run(mode: str, devices: int) -> tuple[dict, dict]:
    parallel = make_parallel(mode, devices)
    batch = {"x": np.arange(DRAWS * BATCH, dtype=np.float32).reshape(DRAWS, BATCH)}
    placed = parallel.place(batch, axis=1)
    assert placed["x"].sharding.spec == PartitionSpec(None, AXES)
    assert placed["x"].addressable_shards[0].data.shape == (DRAWS, BATCH // devices)
    start = {
        "whole": jnp.zeros((BATCH, 2)),
        "mean": jnp.zeros(DRAWS),
        "sum": jnp.float32(3),
        "first": jnp.float32(0),
    }
    state = parallel.compile_init(lambda _: start)(jax.random.key(0))
    assert state["sum"].sharding.is_fully_replicated and state["sum"].sharding.mesh.size == devices
    new, metrics = parallel.compile_step(step)(Phase(), state, placed, jax.random.key(5))
    assert state["sum"].is_deleted(), "the state is donated"
    for leaf in jax.tree.leaves((new, metrics)):
        assert leaf.sharding.is_fully_replicated and leaf.sharding.mesh.size == devices
    return jax.device_get((new, metrics))


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, int], tuple[dict, dict]]:
    return {(mode, devices): run(mode, devices) for mode, devices in MODES}


@pytest.mark.parametrize("which", MODES)
def test_one_answer(results: dict, which: tuple[str, int]) -> None:
    new, metrics = results[which]
    x = np.arange(DRAWS * BATCH).reshape(DRAWS, BATCH)
    assert (new["whole"][:, 0] == x[0]).all()
    # Every example's key depends only on its index in the whole batch.
    one_by_one = [
        jax.random.normal(jax.random.fold_in(jax.random.key(5), i), ()) for i in range(BATCH)
    ]
    np.testing.assert_allclose(new["whole"][:, 1], one_by_one, rtol=1e-6)
    assert (new["whole"][:, 1] == results["jit", 1][0]["whole"][:, 1]).all()
    assert new["mean"].tolist() == x.mean(1).tolist() and new["sum"] == x.sum()
    assert metrics["loss"] == x.mean() and metrics["other"] == x[1].sum()
    assert new["first"] == 1 / which[1]


def test_outside_of_a_step() -> None:
    x = jnp.arange(4.0)
    assert axis_mean(x) is x and axis_sum(x) is x and axis_gather(x) is x and axis_index() == 0
    keys = example_keys(jax.random.key(0), 3)
    assert (jax.random.key_data(keys) == jax.random.key_data(image_keys(0, np.arange(3)))).all()


def test_check_batch() -> None:
    parallel = make_parallel("jit", 8)
    parallel.check_batch("train.batch_size", 24)
    with pytest.raises(UserError, match=r"train\.batch_size=30 does not divide .* 24 or 32"):
        parallel.check_batch("train.batch_size", 30)
    with pytest.raises(UserError, match=r"=3 .*: use 8 \(or --config\.train\.devices=1\)"):
        parallel.check_batch("train.batch_size", 3)
    make_parallel("jit", 1).check_batch("train.batch_size", 3)
    assert [parallel.round_up(n) for n in (1, 8, 9)] == [8, 8, 16]


def test_make_parallel() -> None:
    assert make_parallel().devices == len(jax.devices()) == 8
    assert make_parallel("pmap", 3).devices == 3
    with pytest.raises(UserError, match=r"train\.devices=9: this machine has 8"):
        make_parallel("jit", 9)
    with pytest.raises(UserError, match=r"train\.parallel='pjit'"):
        make_parallel("pjit")


def test_place() -> None:
    parallel = make_parallel("jit", 4)
    batch = {"image": np.zeros((8, 2, 2, 1), np.float32), "label": np.arange(8, dtype=np.int32)}
    placed = parallel.place(batch)
    assert placed["image"].sharding == parallel.split()
    assert [s.data.tolist() for s in placed["label"].addressable_shards] == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
    ]


def test_keys() -> None:
    keys = named_keys(3)
    assert tuple(keys) == NAMES
    data = {name: tuple(jax.random.key_data(key).tolist()) for name, key in keys.items()}
    assert len(set(data.values())) == len(NAMES)
    again = {name: tuple(jax.random.key_data(k).tolist()) for name, k in named_keys(3).items()}
    other = {name: tuple(jax.random.key_data(k).tolist()) for name, k in named_keys(4).items()}
    assert data == again and not set(data.values()) & set(other.values())
    # An image's key depends only on its index, not on the other images requested.
    some = jax.random.key_data(image_keys(7, np.asarray([5, 2])))
    every = jax.random.key_data(image_keys(7, np.arange(8)))
    assert (some == every[np.asarray([5, 2])]).all()
    assert len({tuple(k) for k in every.tolist()}) == 8
