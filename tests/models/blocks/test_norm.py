"""Normalisation against Flax's, and against its definition."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models.blocks.norm import BatchNorm, InstanceNorm, LayerNorm

DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.normal(2.0, 3.0, (4, 3, 5, 6)), jnp.float32)
OURS = BatchNorm()
PEER = nn.BatchNorm(momentum=0.9, epsilon=1e-5, use_running_average=False)


def variables() -> dict:
    made = OURS.init(jax.random.key(0), X, train=True)
    assert (made["batch_stats"]["mean"] == 0).all() and (made["batch_stats"]["var"] == 1).all()
    draw = lambda p: jnp.asarray(DRAW.uniform(0.5, 2.0, p.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, made)


def test_batch_norm_like_flax() -> None:
    state = variables()
    chex.assert_trees_all_equal_structs(state, PEER.init(jax.random.key(0), X))
    got, moved = OURS.apply(state, X, train=True, mutable="batch_stats")
    expected, moved_too = PEER.apply(state, X, mutable="batch_stats")
    np.testing.assert_allclose(got, expected, atol=2e-5)
    chex.assert_trees_all_close(moved, moved_too, rtol=1e-5)
    # In use: the running statistics, and nothing moves.
    got, kept = OURS.apply(state, X, train=False, mutable="batch_stats")
    expected = PEER.clone(use_running_average=True).apply(state, X)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    chex.assert_trees_all_equal(kept["batch_stats"], state["batch_stats"])


def test_batch_norm_gradients_like_flax() -> None:
    state, weights = variables(), jnp.asarray(DRAW.normal(size=X.shape), jnp.float32)

    def loss(module: nn.Module, params: dict, x: jax.Array, **keywords: bool) -> jax.Array:
        y, _ = module.apply({**state, "params": params}, x, mutable="batch_stats", **keywords)
        return (weights * y).sum()

    ours = jax.grad(lambda p, x: loss(OURS, p, x, train=True), (0, 1))(state["params"], X)
    peer = jax.grad(lambda p, x: loss(PEER, p, x), (0, 1))(state["params"], X)
    chex.assert_trees_all_close(ours, peer, atol=1e-4)


def test_running_statistics_by_hand() -> None:
    state = variables()
    _, moved = BatchNorm(momentum=0.75).apply(state, X, train=True, mutable="batch_stats")
    flat = np.asarray(X, np.float64).reshape(-1, 6)
    before = state["batch_stats"]
    expected = {
        "mean": 0.75 * before["mean"] + 0.25 * flat.mean(0),
        "var": 0.75 * before["var"] + 0.25 * flat.var(0),  # the biased one
    }
    chex.assert_trees_all_close(moved["batch_stats"], expected, rtol=1e-5)


def test_output_is_normal_in_any_number_of_axes() -> None:
    for shape in ((32, 6), (4, 8, 6)):
        x = jnp.asarray(DRAW.normal(3.0, 2.0, shape), jnp.float32)
        state = OURS.init(jax.random.key(0), x, train=True)
        y, _ = OURS.apply(state, x, train=True, mutable="batch_stats")
        np.testing.assert_allclose(y.reshape(-1, 6).mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(y.reshape(-1, 6).std(0), 1, atol=1e-4)


def test_constant_channels() -> None:
    """A variance of zero, and one that rounding makes negative, stay finite."""
    x = jnp.full((64, 3), 1000.123, jnp.float32)
    state = OURS.init(jax.random.key(0), x, train=True)
    y, moved = OURS.apply(state, x, train=True, mutable="batch_stats")
    assert np.isfinite(y).all() and (moved["batch_stats"]["var"] >= 0).all()


@pytest.mark.parametrize("train", [True, False])
def test_half_precision_in_and_out(train: bool) -> None:
    state = variables()
    y, moved = OURS.apply(state, X.astype(jnp.bfloat16), train=train, mutable="batch_stats")
    assert y.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(moved))
    full, _ = OURS.apply(state, X, train=train, mutable="batch_stats")
    np.testing.assert_allclose(y.astype(jnp.float32), full, atol=0.1)


def test_instance_norm_by_hand() -> None:
    module = InstanceNorm(epsilon=1e-3)
    params = module.init(jax.random.key(0), X)
    wide = np.asarray(X, np.float64)
    mean, var = wide.mean((1, 2), keepdims=True), wide.var((1, 2), keepdims=True)
    expected = (wide - mean) / np.sqrt(var + 1e-3)
    np.testing.assert_allclose(module.apply(params, X), expected, atol=1e-5)
    params = {"params": {"scale": jnp.arange(6.0), "bias": jnp.arange(6.0) - 3}}
    expected = expected * np.arange(6) + np.arange(6) - 3
    np.testing.assert_allclose(module.apply(params, X), expected, atol=1e-4)
    # Each image by itself: whatever else is in the batch.
    np.testing.assert_allclose(module.apply(params, X[2:3]), expected[2:3], atol=1e-4)
    assert module.apply(params, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_layer_norm_by_hand() -> None:
    module = LayerNorm(epsilon=1e-3)
    params = {"params": {"scale": jnp.arange(6.0), "bias": jnp.arange(6.0) - 3}}
    made = module.init(jax.random.key(0), X)
    chex.assert_trees_all_equal_shapes(made, params)
    wide = np.asarray(X, np.float64)
    mean, var = wide.mean((1, 2, 3), keepdims=True), wide.var((1, 2, 3), keepdims=True)
    expected = (wide - mean) / np.sqrt(var + 1e-3)
    np.testing.assert_allclose(module.apply(made, X), expected, atol=1e-5)
    expected = expected * np.arange(6) + np.arange(6) - 3
    np.testing.assert_allclose(module.apply(params, X[1:2]), expected[1:2], atol=1e-4)
    dense = wide[:, 0, 0]
    expected = (dense - dense.mean(1, keepdims=True)) / np.sqrt(dense.var(1) + 1e-3)[:, None]
    np.testing.assert_allclose(module.apply(made, X[:, 0, 0]), expected, atol=1e-4)


def test_conditional_batch_norm_by_hand() -> None:
    """The statistics are those of the whole batch, scale and bias those of the class."""
    module = BatchNorm(num_classes=3)
    labels = jnp.array([2, 0, 2, 1])
    made = module.init(jax.random.key(0), X, labels, train=True)
    chex.assert_trees_all_equal(
        made["params"], {"scale": jnp.ones((3, 6)), "bias": jnp.zeros((3, 6))}
    )
    params = {"scale": jnp.arange(18.0).reshape(3, 6), "bias": -jnp.arange(18.0).reshape(3, 6)}
    got, moved = module.apply(
        {**made, "params": params}, X, labels, train=True, mutable="batch_stats"
    )
    plain, expected = OURS.apply(
        OURS.init(jax.random.key(0), X, train=True), X, train=True, mutable="batch_stats"
    )
    chex.assert_trees_all_equal(moved, expected)
    scale = params["scale"][labels][:, None, None]
    np.testing.assert_allclose(got, plain * scale - scale, atol=1e-4)
