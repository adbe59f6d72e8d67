"""The history of generated images: what goes in and comes out, one after the other."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from gan_jax.methods.pool import make_pool, pool_query
from gan_jax.parallel.axes import Axes, mapped


def run(size: int, batch: int, batches: int, seed: int = 0) -> tuple[dict, np.ndarray]:
    """Return the pool after so many numbered images, and what came back for each."""
    pool, found, query = make_pool(size, (1,)), [], jax.jit(pool_query)
    for i in range(batches):
        fakes = jnp.arange(i * batch, (i + 1) * batch, dtype=jnp.float32)[:, None]
        index = jnp.arange(i * batch, (i + 1) * batch)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), index)
        pool, made = query(pool, fakes, keys)
        found.append(np.asarray(made)[:, 0])
    return jax.device_get(pool), np.concatenate(found)


def test_half_of_them_come_from_the_history() -> None:
    pool, found = run(size=20, batch=10, batches=200)
    numbers = np.arange(2000)
    np.testing.assert_array_equal(found[:20], numbers[:20])  # until it is full
    older = found[20:] < numbers[20:]
    assert abs(older.mean() - 0.5) < 0.035, "three deviations of 1,980 draws"
    assert (found <= numbers).all()
    # What is taken out never comes back, what is put in is there or came out: nothing is lost.
    taken = found[found < numbers]
    assert len(set(taken)) == len(taken)
    never = set(numbers) - set(found.astype(int))
    assert never == set(pool["images"][:, 0].astype(int))
    # Each place is swapped at the same rate: the wait of an image is geometric of mean 2 * size.
    waits = (numbers - found)[found < numbers]
    assert abs(waits.mean() / 40 - 1) < 0.15
    assert pool["filled"] == 20


def test_the_order_is_that_of_the_whole_batch() -> None:
    for batch in (1, 5, 40):
        pool, found = run(size=7, batch=batch, batches=200 // batch)
        expected = run(size=7, batch=200, batches=1)
        np.testing.assert_array_equal(found, expected[1])
        chex.assert_trees_all_equal(pool, expected[0])


def test_no_history() -> None:
    pool, found = run(size=0, batch=5, batches=3)
    np.testing.assert_array_equal(found, np.arange(15))
    assert len(pool["images"]) == 0


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_eight_devices_keep_one_history() -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = PartitionSpec("data"), PartitionSpec()

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(whole, split, split),
        out_specs=(whole, split),
        check_vma=False,
    )
    def spread(pool: dict, fakes: jax.Array, keys: jax.Array) -> tuple:
        with mapped(Axes(("data",), "cpu")):
            return pool_query(pool, fakes, keys)

    pools = [make_pool(5, (2, 3)), make_pool(5, (2, 3))]
    for i in range(4):
        fakes = jax.random.normal(jax.random.key(i), (16, 2, 3))
        keys = jax.random.split(jax.random.key(10 + i), 16)
        pools[0], expected = pool_query(pools[0], fakes, keys)
        pools[1], found = spread(pools[1], fakes, keys)
        chex.assert_trees_all_equal(found, expected)
        chex.assert_trees_all_equal(pools[1], pools[0])
