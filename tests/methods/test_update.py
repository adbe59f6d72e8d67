"""One update: what it moves, of which networks, and that it is the same however it is spread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Phase
from gan_jax.methods.gan.terms import path_length, r1
from gan_jax.methods.terms import Kind, Term, historical, orthogonal, plain
from gan_jax.methods.update import TERMS, Aux, Net, Nets, Update, make_update
from gan_jax.models.blocks.heads import Outputs
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.mesh import make_parallel

SGD = functools.partial(optax.sgd, 0.1)
WIDTH = 4


class Plain(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(self.outputs)(jnp.tanh(nn.Dense(8)(x)))


class Normalised(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(self.outputs)(BatchNorm()(nn.Dense(8)(x), train=train))


def net(module: nn.Module, **more: Any) -> Net:
    optimizer = optax.with_extra_args_support(more.pop("optimizer", SGD()))
    inputs = (jax.ShapeDtypeStruct((1, WIDTH), jnp.float32),)
    return Net(module, module.apply, optimizer, inputs, **more)


def start(update: Update) -> TrainState:
    nets = {
        name: net.init(jax.random.fold_in(jax.random.key(0), i))
        for i, (name, net) in enumerate(update.nets.items())
    }
    return new_state(nets, update.buffers(nets))


def batch(size: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(size, WIDTH)).astype(np.float32)


def squares(name: str) -> Callable[[Nets, Any], tuple[jax.Array, Aux]]:
    """Return a loss: the mean square of a network's outputs, which are returned."""

    def loss(nets: Nets, x: jax.Array) -> tuple[jax.Array, Aux]:
        outputs = nets[name](x)
        return jnp.square(outputs).mean(), Aux({"loss": jnp.square(outputs).mean()}, outputs, {})

    return loss


def stepped(update: Update, *names: str, loss: Any = None, x: Any = None, **given: Any) -> Any:
    given = {"phase": Phase(), **given}
    x = batch() if x is None else x
    return update(start(update), names, loss or squares(names[0]), x, **given)


def test_only_the_named_network_changes() -> None:
    update = make_update({"a": net(Normalised(2)), "b": net(Normalised(2))})
    before = start(update)
    after, metrics, outputs = stepped(update, "a")
    chex.assert_trees_all_equal(after.nets["b"], before.nets["b"])
    moved = jax.tree.map(
        lambda x, y: bool((x != y).any()), after.nets["a"].extra, before.nets["a"].extra
    )
    assert all(jax.tree.leaves(moved)) and moved
    assert set(metrics) == {"loss", "grad_norm/a"} and outputs.shape == (16, 2)
    chex.assert_trees_all_equal(after.buffers, before.buffers)


def test_a_step_by_hand() -> None:
    """Of SGD with a moving average, clipped weights and a part of the network held."""
    hold = lambda params: {**params, "Dense_0": jax.lax.stop_gradient(params["Dense_0"])}  # noqa: E731
    project = lambda params: jax.tree.map(lambda x: jnp.clip(x, -0.1, 0.1), params)  # noqa: E731
    module = Plain(2)
    update = make_update({"a": net(module, ema=lambda step: 0.75, hold=hold, project=project)})
    before = start(update).nets["a"]
    after, metrics, _ = stepped(update, "a")
    value = lambda p: jnp.square(module.apply({"params": p}, batch(), train=True)).mean()  # noqa: E731
    slopes = jax.grad(value)(before.params)
    slopes["Dense_0"] = jax.tree.map(jnp.zeros_like, slopes["Dense_0"])
    expected = jax.tree.map(lambda x, g: x - 0.1 * g, before.params, slopes)
    norm = optax.global_norm(slopes)
    assert float(metrics["grad_norm/a"]) == pytest.approx(float(norm), rel=1e-5)
    average = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, before.params, expected)
    chex.assert_trees_all_close(after.nets["a"].ema["params"], average, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(after.nets["a"].params, project(expected), rtol=1e-5, atol=1e-7)


def test_calls_move_statistics_in_their_order_and_pure_ones_none() -> None:
    module = Normalised(2)
    update = make_update({"a": net(module)})
    first, second = batch(), batch() + 3

    def loss(nets: Nets, x: Any) -> tuple[jax.Array, Aux]:
        outputs = nets.a(x["first"]), nets.a.pure(x["first"] * 7), nets.a(x["second"])
        return sum(y.mean() for y in outputs), Aux()

    after, _, _ = stepped(update, "a", loss=loss, x={"first": first, "second": second})
    variables = start(update).nets["a"].variables()
    for x in (first, second):
        _, moved = module.apply(variables, x, train=True, mutable=["batch_stats"])
        variables = {**variables, **moved}
    chex.assert_trees_all_close(after.nets["a"].extra["batch_stats"], variables["batch_stats"])


class Quantised(nn.Module):
    """A network with a codebook that is no parameter: the mean of what it is given follows it."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        code = self.variable("codebook", "mean", jnp.zeros, (WIDTH,))
        y = nn.Dense(WIDTH)(x - code.value)
        if train and not self.is_initializing():
            code.value = 0.5 * code.value + 0.5 * x.mean(0)
        self.sow("intermediates", "seen", y)
        return y


def test_every_collection_of_a_network_moves_and_what_it_sows_is_dropped() -> None:
    update = make_update({"net": net(Quantised())})
    state, _, _ = stepped(update, "net")
    assert set(state.nets["net"].extra) == {"codebook"}
    expected = batch().mean(0) / 2
    np.testing.assert_allclose(state.nets["net"].extra["codebook"]["mean"], expected, rtol=1e-5)
    chex.assert_trees_all_equal_structs(state, start(update))


def test_a_network_that_is_not_updated_moves_nothing() -> None:
    update = make_update({"a": net(Plain(WIDTH)), "b": net(Normalised(2))})

    def loss(nets: Nets, x: jax.Array) -> tuple[jax.Array, Aux]:
        return jnp.square(nets.b(nets.a(x))).mean(), Aux()

    after, _, _ = stepped(update, "a", loss=loss)
    chex.assert_trees_all_equal(after.nets["b"], start(update).nets["b"])
    assert bool((after.nets["a"].params["Dense_0"]["kernel"] != 0).any())


def test_pure_calls_differentiate_and_moving_ones_within_refuse() -> None:
    """A penalty on the slope in the input is taken of `pure`, by the parameters of the step."""
    update = make_update({"a": net(Normalised(1))})

    def penalised(nets: Nets, x: jax.Array, call: str) -> tuple[jax.Array, Aux]:
        critic = getattr(nets.a, call) if call == "pure" else nets.a
        slope = jax.grad(lambda x: critic(x).sum())(x)
        return jnp.square(slope).sum(-1).mean() + nets.a(x).mean(), Aux()

    _, metrics, _ = stepped(update, "a", loss=functools.partial(penalised, call="pure"))
    assert float(metrics["grad_norm/a"]) > 0
    inside: dict[str, Callable[..., Any]] = {
        "grad": lambda f, x: jax.grad(lambda x: f(x).sum())(x),
        "vmap": lambda f, x: jax.vmap(lambda row: f(row[None]))(x),
        "scan": lambda f, x: jax.lax.scan(lambda c, row: (c, f(row[None])), 0, x)[1],
        "checkpoint": lambda f, x: jax.checkpoint(f)(x),
    }
    for how in inside.values():
        with pytest.raises(ValueError, match=r"nets\.a\(\.\.\.\) moves .* call nets\.a\.pure"):
            stepped(update, "a", loss=lambda nets, x, how=how: (how(nets.a, x).sum(), Aux()))
        stepped(update, "a", loss=lambda nets, x, how=how: (how(nets.a.pure, x).sum(), Aux()))


def test_two_networks_of_one_loss() -> None:
    """Both descend it, as one optimizer over both would."""
    nets = {"a": net(Plain(WIDTH)), "b": net(Plain(1))}
    update = make_update(nets)

    def loss(nets: Nets, x: jax.Array) -> tuple[jax.Array, Aux]:
        return jnp.square(nets.b(nets.a(x)) - 1).mean(), Aux()

    before = start(update)
    after, metrics, _ = stepped(update, "a", "b", loss=loss)

    def value(params: Any) -> jax.Array:
        y = nets["a"].module.apply({"params": params["a"]}, batch(), train=True)
        return jnp.square(nets["b"].module.apply({"params": params["b"]}, y, train=True) - 1).mean()

    slopes = jax.grad(value)({name: state.params for name, state in before.nets.items()})
    for name in nets:
        expected = jax.tree.map(lambda x, g: x - 0.1 * g, before.nets[name].params, slopes[name])
        chex.assert_trees_all_close(after.nets[name].params, expected, rtol=1e-5, atol=1e-7)
        norm = float(optax.global_norm(slopes[name]))
        assert float(metrics[f"grad_norm/{name}"]) == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_each_network_descends_its_own_objective_of_one_pass(microbatches: int) -> None:
    """A saddle: a ascends what b descends, and neither follows the other's gradient."""
    nets = {"a": net(Plain(WIDTH)), "b": net(Plain(1))}
    update = make_update(nets, microbatches=microbatches)

    def loss(nets: Nets, x: jax.Array) -> tuple[Mapping[str, jax.Array], Aux]:
        value = jnp.square(nets.b(nets.a(x)) - 1).mean()
        return {"a": -value, "b": 2 * value}, Aux({"value": value})

    after, metrics, _ = stepped(update, "a", "b", loss=loss)
    shared, _, _ = stepped(
        update, "a", "b", loss=lambda nets, x: (jnp.square(nets.b(nets.a(x)) - 1).mean(), Aux())
    )
    before = start(update)
    for name, factor in (("a", -1), ("b", 2)):
        moves = [
            jax.tree.map(lambda x, y: x - y, s.nets[name].params, before.nets[name].params)
            for s in (after, shared)
        ]
        expected = jax.tree.map(lambda x, f=factor: f * x, moves[1])
        chex.assert_trees_all_close(moves[0], expected, rtol=1e-4, atol=1e-7)
    assert set(metrics) == {"value", "grad_norm/a", "grad_norm/b"}


def test_outputs_come_back_in_the_order_of_the_inputs() -> None:
    whole, parts = (make_update({"a": net(Plain(2))}, microbatches=n) for n in (1, 4))
    expected = stepped(whole, "a")[2]
    chex.assert_trees_all_close(stepped(parts, "a")[2], expected, rtol=1e-5, atol=1e-6)


def noisy() -> Kind:
    """Return a term whose value depends on its draws and on the example."""

    def value(seen: Mapping[str, Any], keys: jax.Array) -> jax.Array:
        noise = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
        return (noise * seen["outputs"]).sum(-1)

    return plain(value, ("outputs",))


def counting() -> Kind:
    """Return a term with a buffer: the mean output so far, and the updates that it was taken in."""

    def value(nets: Any, seen: Any, keys: Any, buffer: Any) -> Any:
        mean = seen["outputs"].mean()
        return jnp.square(seen["outputs"] - buffer["mean"]).sum(-1), {"mean": mean}

    def following(buffer: Any, statistics: Any, after: Any, step: jax.Array) -> Any:
        return {"mean": statistics["mean"], "updates": buffer["updates"] + 1}

    first = lambda params: {"mean": jnp.zeros(()), "updates": jnp.zeros((), jnp.int32)}  # noqa: E731
    return Kind(value, ("outputs",), first, following)


# Draws, two kinds of slopes, and the three kinds of buffers: of scalars, of lengths, of weights.
KINDS = {
    "noisy": noisy(),
    "r1": r1(),
    "counting": counting(),
    "path_length": path_length(),
    "historical": historical(net="a"),
}


def trained(
    mode: str = "jit",
    devices: int = 1,
    shards: int = 1,
    microbatches: int = 1,
    steps: int = 3,
    without: tuple[str, ...] = (),
) -> tuple[TrainState, dict[str, float]]:
    """Train two networks with terms as `main.py` would spread it; return state and metrics."""
    nets = {
        "a": net(Plain(2), optimizer=optax.adam(0.01), ema=lambda step: 0.9),
        "b": net(Plain(2)),
    }
    kinds = {name: kind for name, kind in KINDS.items() if name not in without}
    terms = {f"a/{name}": kind.term("a", 0.5) for name, kind in kinds.items()}
    offers = {"a": ("outputs", "judge", "real", "generate", "drawn")}
    update = make_update(nets, terms, microbatches=microbatches, offers=offers)

    def loss(nets: Nets, x: jax.Array) -> tuple[jax.Array, Aux]:
        outputs = nets.a(x)
        value = jnp.square(outputs - nets.b(x)).mean()
        seen = {
            "outputs": outputs,
            "judge": lambda x: Outputs(nets.a.pure(x).sum(-1)),
            "real": x,
            "generate": lambda z: nets.a.pure(z)[:, None, None],
            "drawn": (x,),
        }
        return value, Aux({"value": value}, outputs, seen)

    def step(phase: Phase, state: TrainState, batch: Any, key: jax.Array) -> Any:
        given = dict(key=jax.random.fold_in(key, state.step), phase=phase)
        state, metrics, outputs = update(state, ("a", "b"), loss, batch["x"][0], **given)
        metrics["order"] = jnp.square(outputs - batch["x"][0][:, :2]).mean()
        return state.replace(step=state.step + 1), metrics

    parallel = make_parallel(mode, devices, shards)
    state = parallel.compile_init(lambda key: start(update))(jax.random.key(0))
    compiled = parallel.compile_step(step)
    for _ in range(steps):
        placed = parallel.place({"x": batch()[None]}, axis=1)
        state, metrics = compiled(Phase(), state, placed, jax.random.key(3))
    return jax.device_get(state), {name: float(x) for name, x in metrics.items()}


@pytest.mark.parametrize(
    "spread",
    [
        dict(devices=2),
        dict(devices=8),
        dict(devices=8, shards=2),
        dict(mode="pmap", devices=2),
        dict(microbatches=4),
        dict(devices=2, microbatches=2),
    ],
    ids=str,
)
def test_the_same_however_it_is_spread(spread: dict[str, Any]) -> None:
    """Two optimizers at once, a moving average, draws, buffers, and a state that is donated."""
    # Lengths are drawn to a mean that has the batch at hand in it, which is a microbatch there.
    without = ("path_length",) if "microbatches" in spread else ()
    expected, metrics = trained(without=without)
    found, others = trained(**spread, without=without)
    chex.assert_trees_all_close(found, expected, rtol=2e-4, atol=1e-5)
    assert others == pytest.approx(metrics, rel=1e-4, abs=1e-5)
    buffers = expected.buffers[TERMS]
    assert buffers["a/counting"]["updates"] == 3
    assert set(buffers) == {"a/counting", "a/path_length", "a/historical"} - {
        f"a/{name}" for name in without
    }
    assert without or buffers["a/path_length"] > 0


def test_clipping_is_of_the_whole_gradient() -> None:
    """The optimizer is told the norm, whatever the microbatches."""
    seen = []

    def update_of(gradients: Any, state: Any, params: Any = None, *, global_norm: Any) -> Any:
        seen.append(float(global_norm))
        return jax.tree.map(lambda g: -g / global_norm, gradients), state

    told = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_of)
    for microbatches in (1, 4):
        update = make_update({"a": net(Plain(2), optimizer=told)}, microbatches=microbatches)
        after, metrics, _ = stepped(update, "a")
        before = start(update).nets["a"].params
        moved = jax.tree.map(lambda x, y: x - y, after.nets["a"].params, before)
        assert float(optax.global_norm(moved)) == pytest.approx(1, rel=1e-5)
        assert float(metrics["grad_norm/a"]) == pytest.approx(seen[-1], rel=1e-6)


def test_a_lazy_term_and_its_buffer_wait_for_their_step() -> None:
    terms = {"a/counting": counting().term("a", 2.0, every=3)}
    update = make_update({"a": net(Plain(2))}, terms, offers={"a": ("outputs",)})

    def loss(nets: Nets, x: jax.Array) -> tuple[jax.Array, Aux]:
        outputs = nets.a(x)
        return jnp.zeros(()), Aux(seen={"outputs": outputs})

    state, found = start(update), []
    for step in range(6):
        phase = Phase(due=update.due(step))
        assert update.needs_key(("a",), phase) == (step in (2, 5))
        before = state.nets["a"].params
        state, metrics, _ = update(state, ("a",), loss, batch(), key=jax.random.key(0), phase=phase)
        changed = any(
            bool((x != y).any())
            for x, y in zip(
                jax.tree.leaves(before), jax.tree.leaves(state.nets["a"].params), strict=True
            )
        )
        found.append((changed, "a/counting" in metrics))
        assert int(state.buffers[TERMS]["a/counting"]["updates"]) == (step + 1) // 3
    assert found == [(step in (2, 5),) * 2 for step in range(6)]


def test_a_weight_may_follow_the_step() -> None:
    term = Term("a", noisy().value, weight=lambda step: 1.0 * step, needs=("outputs",))
    update = make_update({"a": net(Plain(2))}, {"a/noisy": term}, offers={"a": ("outputs",)})
    loss = lambda nets, x: (jnp.zeros(()), Aux(seen={"outputs": nets.a(x)}))  # noqa: E731
    norms = []
    for step in (0, 1, 3):
        state = start(update).replace(step=jnp.int32(step))
        given = dict(key=jax.random.key(0), phase=Phase())
        norms.append(float(update(state, ("a",), loss, batch(), **given)[1]["grad_norm/a"]))
    assert norms[0] == 0 and norms[2] == pytest.approx(3 * norms[1], rel=1e-5)


def test_a_term_that_finds_not_what_it_needs_is_refused() -> None:
    nets = {"a": net(Plain(2))}
    with pytest.raises(UserError, match=r"terms\.a\.noisy needs outputs, .* 'a' has nothing"):
        make_update(nets, {"a/noisy": noisy().term("a", 1.0)})
    with pytest.raises(UserError, match=r"terms\.b\.noisy: there is no network 'b' .* one of a"):
        make_update(nets, {"b/noisy": noisy().term("b", 1.0)}, offers={"a": ("outputs",)})
    with pytest.raises(UserError, match=r"every=0: at least 1"):
        make_update(nets, {"a/o": orthogonal(net="a").term("a", 1.0, every=0)})
    make_update(nets, {"a/orthogonal": orthogonal(net="a").term("a", 1.0)})  # needs nothing
