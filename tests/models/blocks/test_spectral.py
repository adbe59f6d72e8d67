"""Spectral normalisation against singular values, and its gradient against the closed form."""

from __future__ import annotations

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models.blocks.layers import Conv, conv2d
from gan_jax.models.blocks.spectral import SpectralConv, SpectralDense, SpectralEmbed, spectral_norm

IMAGES = jax.random.normal(jax.random.key(1), (2, 6, 5, 3))


def converge(kernel: jax.Array, steps: int = 300) -> tuple[jax.Array, jax.Array]:
    u = jnp.ones(kernel.shape[-1]) / np.sqrt(kernel.shape[-1])
    for _ in range(steps):
        sigma, u = spectral_norm(kernel, u, iterate=True)
    return sigma, u


@pytest.mark.parametrize("shape", [(3, 3, 4, 7), (1, 1, 3, 16), (9, 1), (10, 6)])
def test_many_iterations_find_the_largest_singular_value(shape: tuple[int, ...]) -> None:
    kernel = jax.random.normal(jax.random.key(0), shape)
    sigma, u = converge(kernel)
    left, values, _ = np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, shape[-1]).T)
    assert float(sigma) == pytest.approx(values[0], rel=1e-5)
    np.testing.assert_allclose(abs(left[:, 0] @ np.asarray(u)), 1, rtol=1e-5)
    again, same = spectral_norm(kernel, u, iterate=False)
    assert float(again) == pytest.approx(values[0], rel=1e-5)
    np.testing.assert_array_equal(same, u)


def test_one_iteration_is_that_of_algorithm_1() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 12))  # the paper's W: outputs x inputs
    u = np.random.default_rng(1).normal(size=5)
    u /= np.linalg.norm(u)
    v = weight.T @ u / np.linalg.norm(weight.T @ u)
    new = weight @ v / np.linalg.norm(weight @ v)
    kernel, u = jnp.asarray(weight.T.reshape(2, 2, 3, 5)), jnp.asarray(u)
    sigma, got = spectral_norm(kernel, u, iterate=True)
    np.testing.assert_allclose(got, new, rtol=1e-5)
    np.testing.assert_allclose(sigma, new @ weight @ v, rtol=1e-5)
    assert sigma.dtype == got.dtype == jnp.float32


@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_the_epsilon_of_other_codes_changes_nothing(size: float) -> None:
    """A floor of 1e-6 for lengths (BigGAN, StudioGAN) is not met by weights that are longer."""
    weight = size * np.random.default_rng(0).normal(size=(5, 12))
    u = np.ones(5) / np.sqrt(5)

    def unit(x: np.ndarray) -> np.ndarray:
        return x / max(np.linalg.norm(x), 1e-6)

    v = unit(weight.T @ u)
    sigma, _ = spectral_norm(jnp.asarray(weight.T), jnp.asarray(u), iterate=True)
    np.testing.assert_allclose(sigma, unit(weight @ v) @ weight @ v, rtol=1e-5)


@pytest.mark.parametrize("iterate", [True, False])
def test_the_gradient_takes_u_and_v_as_constants(iterate: bool) -> None:
    """The gradient of sigma is u v^T, wherever the iteration stands (not yet converged here)."""
    kernel = jax.random.normal(jax.random.key(0), (2, 2, 3, 5))
    u = jnp.ones(5) / np.sqrt(5)
    gradient = jax.grad(lambda k: spectral_norm(k, u, iterate=iterate)[0])(kernel)
    weight = np.asarray(kernel).reshape(-1, 5).T
    v = weight.T @ u / np.linalg.norm(weight.T @ u)
    left = weight @ v / np.linalg.norm(weight @ v) if iterate else u
    expected = np.outer(v, left).reshape(kernel.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_through_the_layer() -> None:
    """dL/dW = (G - <G, W / sigma> u v^T) / sigma, where G is the gradient in the divided weight."""
    layer = SpectralConv(4, use_bias=False, train=True)
    variables = layer.init(jax.random.key(0), IMAGES)

    def loss(params: Any) -> jax.Array:
        return jnp.sin(layer.apply({**variables, "params": params}, IMAGES)).sum()

    got = jax.grad(loss)(variables["params"])["kernel"]
    kernel = variables["params"]["kernel"]
    sigma, _ = spectral_norm(kernel, variables["spectral"]["u"], iterate=True)
    plain = jax.grad(lambda k: jnp.sin(conv2d(IMAGES, k, padding="SAME")).sum())(kernel / sigma)
    direction = jax.grad(lambda k: spectral_norm(k, variables["spectral"]["u"], iterate=True)[0])
    expected = (plain - (plain * kernel / sigma).sum() * direction(kernel)) / sigma
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_u_moves_in_training_only() -> None:
    train, use = SpectralConv(4, train=True), SpectralConv(4)
    variables = use.init(jax.random.key(0), IMAGES)
    u = variables["spectral"]["u"]
    assert u.dtype == jnp.float32 and np.linalg.norm(u) == pytest.approx(1, rel=1e-6)
    _, kept = use.apply(variables, IMAGES, mutable=["spectral"])
    np.testing.assert_array_equal(kept["spectral"]["u"], u)
    frozen = train.apply(variables, IMAGES)  # nothing is mutable: an iteration that is not kept
    made, moved = train.apply(variables, IMAGES, mutable=["spectral"])
    np.testing.assert_array_equal(frozen, made)
    new = moved["spectral"]["u"]
    assert abs(new - u).max() > 1e-3
    _, expected = spectral_norm(variables["params"]["kernel"], u, iterate=True)
    np.testing.assert_allclose(new, expected, rtol=1e-6)


def test_parameters_are_those_of_the_plain_layers() -> None:
    key = jax.random.key(0)
    labels = jnp.array([0, 2])
    for layer, plain, x in (
        (SpectralConv(4, (3, 3), (2, 2)), Conv(4, (3, 3), (2, 2)), IMAGES),
        (SpectralDense(4), nn.Dense(4), IMAGES[:, 0, 0]),
        (SpectralEmbed(3, 4), nn.Embed(3, 4), labels),
    ):
        variables = layer.init(key, x)
        expected = plain.init(key, x)
        assert set(variables) == {"params", "spectral"}
        chex.assert_trees_all_equal(variables["params"], expected["params"])
        assert jax.tree.map(jnp.shape, variables["spectral"]) == {"u": (4,)}
        (name,) = set(variables["params"]) - {"bias"}
        weight = variables["params"][name]
        _, u = converge(weight)
        values = np.linalg.svd(np.asarray(weight).reshape(-1, 4), compute_uv=False)
        divided = {"params": {**expected["params"], name: weight / values[0]}}
        got = layer.apply({**variables, "spectral": {"u": u}}, x)
        np.testing.assert_allclose(got, plain.apply(divided, x), rtol=1e-4, atol=1e-5)


def test_a_weight_of_zeros_stays_zero() -> None:
    layer = SpectralDense(2, kernel_init=nn.initializers.zeros, train=True)
    variables = layer.init(jax.random.key(0), IMAGES)
    made = layer.apply(variables, IMAGES)
    gradient = jax.grad(lambda p: layer.apply({**variables, "params": p}, IMAGES).sum())
    chex.assert_tree_all_finite((made, gradient(variables["params"])))
    assert abs(made).max() == 0


def test_half_precision_keeps_sigma_in_float32() -> None:
    layer = SpectralConv(4, dtype=jnp.bfloat16, train=True)
    variables = layer.init(jax.random.key(0), IMAGES)
    made, moved = layer.apply(variables, IMAGES, mutable=["spectral"])
    assert made.dtype == jnp.bfloat16 and moved["spectral"]["u"].dtype == jnp.float32
    wide = SpectralConv(4, train=True).apply(variables, IMAGES)
    np.testing.assert_allclose(made.astype(jnp.float32), wide, rtol=0.05, atol=0.02)
