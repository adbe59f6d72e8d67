"""Optimizers against optax's and PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT
from jax import export

from configs.common import optimizer
from gan_jax.core.errors import UserError
from gan_jax.training.optimizers import DECAYED, make_optimizer

PARAMS = {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.full(3, 2.0), "scale": jnp.float32(2)}


def gradients(step: int) -> dict:
    draw = np.random.default_rng(step)
    return jax.tree.map(lambda p: jnp.asarray(draw.normal(size=p.shape), jnp.float32), PARAMS)


def train(rule: optax.GradientTransformation, steps: int = 4) -> dict:
    rule = optax.with_extra_args_support(rule)
    params, state = PARAMS, rule.init(PARAMS)
    for step in range(steps):
        norm = optax.global_norm(gradients(step))
        updates, state = rule.update(gradients(step), state, params, global_norm=norm)
        params = optax.apply_updates(params, updates)
    return params


def make(**changes: object) -> optax.GradientTransformation:
    return make_optimizer(**{**dict(name="adam", lr=0.1, steps=10, batch=8), **changes})


def matrices(params: dict) -> dict:
    return jax.tree.map(lambda p: p.ndim > 1, params)


PEERS: dict[str, tuple[dict, Callable]] = {
    "adam": (dict(b1=0.5, b2=0.9), lambda: optax.adam(0.1, b1=0.5, b2=0.9)),
    "adamw": (
        dict(weight_decay=0.3),
        lambda: optax.adamw(0.1, weight_decay=0.3, mask=matrices),
    ),
    "sgd": (dict(name="sgd"), lambda: optax.sgd(0.1)),
    "momentum": (dict(name="sgd", momentum=0.8), lambda: optax.sgd(0.1, momentum=0.8)),
    "adam_eps": (dict(eps=1e-2), lambda: optax.adam(0.1, eps=1e-2)),
    "rmsprop": (
        dict(name="rmsprop", decay=0.9),
        lambda: optax.rmsprop(0.1, decay=0.9, eps_in_sqrt=False),
    ),
    "clipped": (
        dict(clip_norm=0.1),
        lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.1)),
    ),
    "warmup": (
        dict(warmup_steps=2),
        lambda: optax.adam(lambda n: 0.1 * jnp.minimum(n / 2, 1)),
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_like_optax(name: str) -> None:
    keywords, peer = PEERS[name]
    chex.assert_trees_all_close(train(make(**keywords)), train(peer()), rtol=1e-6)


RULES = {
    "adam": dict(name="adam", b1=0.5, b2=0.99),
    "adam_eps": dict(name="adam", b1=0.0, b2=0.999, eps=1e-6),
    "rmsprop": dict(name="rmsprop", decay=0.99),
    "rmsprop_eps": dict(name="rmsprop", decay=0.9, eps=1e-6),
}


def moved(rule: dict, size: float, *, steps: int = 50, lr: float = 1e-3) -> float:
    """Return how far constant gradients of a given size move a weight."""
    rule = make_optimizer(**rule, lr=lr, steps=steps, batch=8)
    params, gradient = jnp.zeros(1), jnp.full(1, size)

    def update(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry
        updates, state = rule.update(gradient, state, params, global_norm=jnp.float32(size))
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(update, (params, rule.init(params)), length=steps)
    return float(params[0])


def rmsprop_by_hand(size: float, *, decay: float, eps: float, steps: int = 50) -> float:
    """Return the same by PyTorch's rule: epsilon is added to the root."""
    square, place = 0.0, 0.0
    for _ in range(steps):
        square = decay * square + (1 - decay) * size**2
        place -= 1e-3 * size / (np.sqrt(square) + eps)
    return place


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-5, 1e-2])
def test_rmsprop_adds_epsilon_to_the_root(size: float) -> None:
    """WGAN's generator has gradients of 1e-5, which epsilon inside the root would slow down."""
    expected = rmsprop_by_hand(size, decay=0.99, eps=1e-8)
    assert moved(RULES["rmsprop"], size) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-2])
@pytest.mark.parametrize("name", RULES)
def test_like_pytorch(name: str, size: float) -> None:
    torch = pytest.importorskip("torch")
    rule, weight = RULES[name], torch.zeros(1, requires_grad=True)
    given = dict(lr=1e-3, eps=rule.get("eps", 1e-8))
    if rule["name"] == "adam":
        theirs = torch.optim.Adam([weight], betas=(rule["b1"], rule["b2"]), **given)
    else:
        theirs = torch.optim.RMSprop([weight], alpha=rule["decay"], **given)
    weight.grad = torch.full((1,), size)
    for _ in range(50):
        theirs.step()
    assert moved(rule, size) == pytest.approx(float(weight.detach()), rel=1e-4)


def test_weight_decay_is_decoupled_and_goes_by_role() -> None:
    """Scale and bias of a conditional BatchNorm have two axes, like a matrix, and no decay."""
    rule = make(name="sgd", weight_decay=0.25)
    table = {"scale": jnp.ones((10, 3)), "bias": jnp.ones((10, 3)), "embedding": jnp.ones((10, 3))}
    params = {"block0": {"norm": table, **PARAMS}, "minibatch": {"tensor": jnp.ones((2, 3, 4))}}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = rule.update(zero, rule.init(params), params)
    moved = {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(jnp.abs(x).max())
        for path, x in jax.tree_util.tree_leaves_with_path(updates)
        if x.any()
    }
    assert moved == pytest.approx({"block0/kernel": 0.1 * 0.25 * 2, "minibatch/tensor": 0.1 * 0.25})


def test_every_parameter_has_a_role() -> None:
    """New parameter names must be added here, with or without weight decay."""
    kept = {"bias", "dense_bias", "scale", "gain", "embedding"}
    named = set()
    for path in (ROOT / "gan_jax").rglob("*.py"):
        named |= set(re.findall(r"self\.param\(\s*\"(\w+)\"", path.read_text()))
    assert named == kept | set(DECAYED)


def test_clipping_is_of_the_global_norm() -> None:
    rule = make(name="sgd", lr=1.0, clip_norm=0.5)
    norm = optax.global_norm(gradients(0))
    updates, _ = rule.update(gradients(0), rule.init(PARAMS), PARAMS, global_norm=norm)
    assert float(optax.global_norm(updates)) == pytest.approx(0.5, rel=1e-5)


def test_the_state_does_not_depend_on_numbers() -> None:
    """Hyperparameters can change on resume, since stateless rules are not in the state."""
    numbers = dict(lr=1.0, weight_decay=0.3, clip_norm=0.1, warmup_steps=2, schedule="cosine")
    for rule in (dict(name="adam"), dict(name="sgd", momentum=0.9), dict(name="rmsprop")):
        states = [make(**rule, **more).init(PARAMS) for more in ({}, numbers)]
        chex.assert_trees_all_equal_structs(*states)
        chex.assert_trees_all_equal(*states)
        assert len(states[0]) == 2 and all(map(jax.tree.leaves, states[0]))


def test_errors() -> None:
    with pytest.raises(UserError, match=r"optim\.\*\.name='adma'.*did you mean 'adam'"):
        make(name="adma")
    with pytest.raises(UserError, match=r"optim\.\*\.schedule='cosin'.*did you mean 'cosine'"):
        make(schedule="cosin")
    with pytest.raises(UserError, match=r"optim\.\*\.eps=0"):
        make(eps=0.0)
    with pytest.raises(TypeError, match="momentum"):  # an incomplete section
        make(momentum=0.9)
    with pytest.raises(UserError, match="warmup_steps=10 leaves none of 10 steps"):
        make(schedule="linear", warmup_steps=10)


def test_config_section_has_every_keyword() -> None:
    section = optimizer(0.1, weight_decay=0.3)
    chex.assert_trees_all_equal(
        train(make_optimizer(**section, steps=10, batch=8)), train(make(weight_decay=0.3))
    )


def update_of_a_kernel() -> tuple[Callable, tuple]:
    """Return Adam's step for a kernel whose gradient is transposed, and its arguments."""
    rule, kernel = make(), jnp.ones((64, 4, 128))

    def update(gradient: jax.Array, state: Any, kernel: jax.Array) -> tuple[Any, jax.Array]:
        gradient = gradient.transpose(1, 2, 0)
        updates, state = rule.update(gradient, state, kernel, global_norm=jnp.float32(1))
        return state, optax.apply_updates(kernel, updates)

    return update, (kernel.transpose(2, 0, 1), rule.init(kernel), kernel)


def test_adam_turns_the_gradient_of_a_kernel_about_once_on_cpu() -> None:
    update, arguments = update_of_a_kernel()
    program = jax.jit(update, donate_argnums=(1, 2)).lower(*arguments).compile().as_text()
    assert program.count(" transpose(") + program.count("{1,0,2} copy(") == 1
    assert " copy(" not in program[program.index("ENTRY") :]


def test_other_platforms_merge_adam_as_they_like() -> None:
    update, arguments = update_of_a_kernel()
    texts = [
        export.export(jax.jit(update), platforms=[name])(*arguments).mlir_module()
        for name in ("cpu", "tpu")
    ]
    assert ["inlineable" in text for text in texts] == [True, False]
