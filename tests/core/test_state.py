"""TrainState: one update by hand, the moving average, and frozen networks."""

from __future__ import annotations

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.state import NetState, TrainState, averaged, count_parameters, init_net, new_state
from gan_jax.methods.update import apply_gradients
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.mesh import make_parallel
from gan_jax.training.averages import ema_decay_at, ema_schedule, keeps_average

SGD = optax.sgd(0.5)
INPUT = jax.ShapeDtypeStruct((2, 3), jnp.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        self.variable("spectral", "u", jnp.ones, (2,))
        return BatchNorm()(nn.Dense(4)(x), train=train)


def init(ema: bool = True) -> NetState:
    return init_net(Net(), jax.random.key(0), (INPUT,), SGD, ema=ema, train=True)


def test_init_net() -> None:
    net = init()
    assert set(net.extra) == {"batch_stats", "spectral"}
    assert set(net.ema) == set(averaged(net)) == {"params", "batch_stats"}
    chex.assert_trees_all_equal(net.ema, averaged(net))
    assert count_parameters(net.params) == 3 * 4 + 4 + 4 + 4
    assert init(ema=False).ema is None
    alone = init_net(nn.Dense(2), jax.random.key(0), (INPUT,), SGD, ema=True)
    assert alone.extra == {} and set(alone.ema) == {"params"}


def test_average_is_a_copy() -> None:
    """A donated state must not hold a buffer twice, neither initially nor after an update."""
    made = jax.jit(lambda: new_state({"net": init()}))()

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState) -> TrainState:
        net = state.nets["net"]
        net, _ = apply_gradients(net, net.params, SGD, ema_decay=0.0)
        return state.replace(nets={"net": net})

    for make in (lambda: new_state({"net": init()}), lambda: made, lambda: step(made)):
        state = make()
        pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
        assert len(set(pointers)) == len(pointers)
    assert jax.tree.leaves(made)[0].is_deleted()


def test_one_update_by_hand() -> None:
    net = init()
    gradients = jax.tree.map(jnp.ones_like, net.params)
    statistics = {"batch_stats": jax.tree.map(lambda x: x + 10.0, net.extra["batch_stats"])}
    new, norm = apply_gradients(net, gradients, SGD, extra=statistics, ema_decay=0.75)
    assert norm == pytest.approx(math.sqrt(count_parameters(net.params)))
    chex.assert_trees_all_close(new.params, jax.tree.map(lambda p: p - 0.5, net.params))
    chex.assert_trees_all_equal(new.extra["batch_stats"], statistics["batch_stats"])
    chex.assert_trees_all_equal(new.extra["spectral"], net.extra["spectral"])
    # Both weights and statistics move a quarter of the way.
    expected = jax.tree.map(lambda p: p - 0.125, net.params)
    chex.assert_trees_all_close(new.ema["params"], expected, atol=1e-6)
    expected = jax.tree.map(lambda x: x + 2.5, net.extra["batch_stats"])
    chex.assert_trees_all_close(new.ema["batch_stats"], expected, atol=1e-6)
    chex.assert_trees_all_equal_structs(new, net)
    without, _ = apply_gradients(init(ema=False), gradients, SGD, extra=statistics, ema_decay=0.75)
    assert without.ema is None
    chex.assert_trees_all_equal(without.params, new.params)


def test_which_weights() -> None:
    net = init()
    net = net.replace(params=jax.tree.map(lambda p: p + 1, net.params))
    net = net.replace(extra={**net.extra, "spectral": {"u": jnp.full(2, 7.0)}})
    assert net.variables() == net.variables("raw")
    ema = net.variables("ema")
    assert ema["params"] is net.ema["params"] and ema["batch_stats"] is net.ema["batch_stats"]
    assert ema["spectral"]["u"][0] == 7, "copied, never averaged"
    plain = net.replace(ema=None)
    assert plain.variables("ema")["params"] is net.params


def test_frozen_net() -> None:
    """A network without optimizer stays unchanged, and can be saved."""
    frozen = NetState(params={"w": jnp.ones(2)}, extra={}, opt_state=(), ema=None)
    state = new_state({"frozen": frozen, "net": init()})
    assert frozen.variables("ema") == {"params": frozen.params}
    step = jax.jit(lambda s: s.replace(step=s.step + 1))
    after = step(state)
    assert isinstance(after, TrainState) and after.step == 1
    chex.assert_trees_all_equal(after.nets["frozen"], frozen)


def test_new_state() -> None:
    state = new_state({}, {"pool": jnp.zeros(3)})
    assert state.step.dtype == jnp.int32 and state.position.dtype == jnp.uint32
    assert state.step == 0 and state.position == 0 and set(state.buffers) == {"pool"}
    last = state.replace(position=jnp.uint32(2**32 - 1))
    assert last.position + np.uint32(3) == 2


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (1, 2 / 11), (90, 0.91), (980, 981 / 990), (10**6, 0.999)]
)
def test_ema_decay(step: int, expected: float) -> None:
    assert float(ema_decay_at(jnp.int32(step), 0.999)) == pytest.approx(expected, rel=1e-6)
    assert float(ema_decay_at(jnp.int32(step), 0.0)) == 0


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (999, 0), (1000, 0.9999), (10**6, 0.9999)])
def test_an_average_that_starts_has_no_ramp(step: int, expected: float) -> None:
    """As in StudioGAN and in BigGAN's author's code: a copy of the weights until `ema_start`."""
    assert float(ema_decay_at(jnp.int32(step), 0.9999, 1000)) == pytest.approx(expected)


def test_a_half_life_is_in_images() -> None:
    """After `ema_half_life` images half of the average is new, for any batch size."""
    for batch_size in (16, 64):
        train = ConfigDict(
            dict(ema_decay=0.0, ema_start=0, ema_half_life=20_000.0, batch_size=batch_size)
        )
        assert keeps_average(train)
        kept = float(ema_schedule(train)(jnp.int32(10**6))) ** (20_000 / batch_size)
        assert kept == pytest.approx(0.5, rel=1e-2)
    train.update(dict(ema_half_life=0.0))
    assert not keeps_average(train) and float(ema_schedule(train)(jnp.int32(5))) == 0


def test_gradients_cross_the_devices() -> None:
    """Under pmap a network learns from the mean over the whole batch, as under jit."""

    def step(phase: None, state: NetState, batch: jax.Array, key: jax.Array) -> tuple:
        loss, gradients = jax.value_and_grad(lambda p: (p["w"] * batch).mean())(state.params)
        state, norm = apply_gradients(state, gradients, SGD)
        return state, {"loss": loss, "norm": norm}

    for mode in ("jit", "pmap"):
        parallel = make_parallel(mode, 8)
        init = parallel.compile_init(
            lambda _: NetState({"w": jnp.float32(2)}, {}, SGD.init({"w": 2.0}), None)
        )
        batch = parallel.place(np.arange(-3, 5, dtype=np.float32)[None], axis=1)
        key = jax.random.key(0)
        state, metrics = parallel.compile_step(step)(None, init(key), batch, key)
        assert state.params["w"] == 2 - 0.5 * 0.5 and metrics["loss"] == 1
        assert metrics["norm"] == 0.5, "that of the mean gradient, not the mean of the norms"
