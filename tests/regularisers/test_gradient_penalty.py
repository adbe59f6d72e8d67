"""The gradient penalty against closed forms, and its own gradient against finite differences."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.models.disc_norm import disc_layers
from gan_jax.models.layers import avg_pool
from gan_jax.regularisers.gradient_penalty import (
    gradient_penalty,
    input_gradient_norm,
    interpolates,
    one_centred,
)

SHAPE = (4, 3, 5, 2)
DRAW = np.random.default_rng(0)
REAL, FAKE = jnp.asarray(DRAW.normal(size=(2, *SHAPE)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 4)


def test_a_linear_critic() -> None:
    """Its gradient is w everywhere: the penalty is (|w| - 1)^2, and dP/dw = 2 (|w| - 1) w / |w|."""
    w = jnp.asarray(DRAW.normal(size=SHAPE[1:]), jnp.float32)

    def penalty(w: jax.Array) -> jax.Array:
        return gradient_penalty(
            critic=lambda x: (x * w).sum((1, 2, 3)) + 7, real=REAL, fake=FAKE, keys=KEYS
        )

    norm = np.linalg.norm(w)
    np.testing.assert_allclose(penalty(w), np.full(4, (norm - 1) ** 2), rtol=1e-5)
    gradient = jax.grad(lambda w: penalty(w).mean())(w)
    np.testing.assert_allclose(gradient, 2 * (norm - 1) * w / norm, rtol=1e-4)
    np.testing.assert_allclose(penalty(w / norm), np.zeros(4), atol=1e-10)


def test_each_image_has_its_own_gradient() -> None:
    """For f(x) = |x|^2 / 2 it is x itself, whatever else is in the batch."""
    critic = lambda x: jnp.square(x).sum((1, 2, 3)) / 2  # noqa: E731
    norm = input_gradient_norm(critic=critic, images=REAL)
    np.testing.assert_allclose(norm, np.linalg.norm(REAL.reshape(4, -1), axis=1), rtol=1e-5)
    alone = input_gradient_norm(critic=critic, images=REAL[2:3])
    np.testing.assert_allclose(alone, norm[2:3], rtol=1e-6)
    points = interpolates(real=REAL, fake=FAKE, keys=KEYS)
    expected = (np.linalg.norm(points.reshape(4, -1), axis=1) - 1) ** 2
    got = gradient_penalty(critic=critic, real=REAL, fake=FAKE, keys=KEYS)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_interpolates_lie_between_with_a_share_an_image() -> None:
    keys = jax.random.split(jax.random.key(1), 2000)
    real, fake = jnp.ones((2000, 1, 2, 1)), jnp.zeros((2000, 1, 2, 1))
    share = np.asarray(interpolates(real=real, fake=fake, keys=keys))[:, 0, :, 0]
    np.testing.assert_array_equal(share[:, 0], share[:, 1])
    assert share.min() >= 0 and share.max() < 1
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(1 / 12, abs=0.01)
    some = interpolates(real=real[5:8], fake=fake[5:8], keys=keys[5:8])
    np.testing.assert_array_equal(some[:, 0, 0, 0], share[5:8, 0])


def test_a_gradient_of_zero_gives_no_nan() -> None:
    def penalty(w: jax.Array) -> jax.Array:
        critic = lambda x: (x * w).sum((1, 2, 3))  # noqa: E731
        return gradient_penalty(critic=critic, real=REAL, fake=FAKE, keys=KEYS).mean()

    for scale in (0.0, 1e-30, 1e-18, 1e15):
        w = jnp.full(SHAPE[1:], scale, jnp.float32)
        value, gradient = jax.value_and_grad(penalty)(w)
        assert np.isfinite(value) and np.isfinite(gradient).all(), scale
    value, gradient = jax.value_and_grad(penalty)(jnp.zeros(SHAPE[1:]))
    assert value == 1 and abs(gradient).max() == 0


def test_one_centred() -> None:
    np.testing.assert_array_equal(one_centred(jnp.array([0.0, 1.0, 3.0])), [1, 0, 4])


class Smooth(nn.Module):
    """A critic of strided convolutions without kinks, on which finite differences can be taken."""

    norm: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers = disc_layers(self.norm, train=False)
        for i, strides in enumerate([(2, 2), (1, 1)]):
            kernel = (4, 4) if i == 0 else (3, 3)
            x = layers.conv(4, kernel, strides, padding=1, name=f"conv{i}")(x)
            x = jax.nn.softplus(layers.norm(f"norm{i}")(x))
        return layers.dense(1, name="logits")(avg_pool(x).reshape(len(x), -1))[:, 0]


@pytest.mark.parametrize("norm", ["none", "layer", "spectral"])
def test_second_order_through_convolutions_by_finite_differences(norm: str) -> None:
    """Along random directions in the weights, for each normalisation that it allows."""
    module = Smooth(norm)
    real, fake = jnp.asarray(DRAW.normal(size=(2, 4, 8, 8, 2)), jnp.float32)
    variables = module.init(jax.random.key(0), real)
    extra = {k: v for k, v in variables.items() if k != "params"}

    @jax.jit
    def penalty(params: Any) -> jax.Array:
        critic = lambda x: 5 * module.apply({"params": params, **extra}, x)  # noqa: E731
        return gradient_penalty(critic=critic, real=real, fake=fake, keys=KEYS).mean()

    # Moved, so that biases and scales are not at their initial values.
    params = jax.tree.map(lambda x: x + 0.1 * DRAW.normal(size=x.shape), variables["params"])
    gradient = jax.jit(jax.grad(penalty))(params)
    for _ in range(3):
        direction = jax.tree.map(lambda x: DRAW.normal(size=x.shape), params)
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)))
        ahead, behind = (
            float(penalty(jax.tree.map(lambda p, d, s=step: p + s * d, params, direction)))
            for step in (3e-3, -3e-3)
        )
        assert float(slope) == pytest.approx((ahead - behind) / 6e-3, rel=1e-2, abs=1e-3)
