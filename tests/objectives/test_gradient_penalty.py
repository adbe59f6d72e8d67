"""The gradient penalty against closed forms, and its own gradient against finite differences."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.task import Phase
from gan_jax.models.blocks.disc_norm import disc_layers
from gan_jax.models.blocks.layers import avg_pool
from gan_jax.objectives.gradient_penalty import (
    dragan,
    gradient_penalty,
    input_gradient_norm,
    interpolates,
    one_centred,
    one_sided,
    perturbed,
    r1,
    zero_centred,
)
from gan_jax.parallel.mesh import make_parallel

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


def test_what_a_norm_should_be() -> None:
    norms = jnp.array([0.0, 0.5, 1.0, 3.0])
    np.testing.assert_array_equal(one_centred(norms), [1, 0.25, 0, 4])
    np.testing.assert_array_equal(one_sided(norms), [0, 0, 0, 4])
    np.testing.assert_array_equal(zero_centred(norms), [0, 0.25, 1, 9])


def test_r1_by_hand() -> None:
    """For f(x) = |x|^2 / 2 the gradient is x, so R1 is |x|^2 / 2, with a derivative of 0 at 0."""
    critic = lambda x: jnp.square(x).sum((1, 2, 3)) / 2  # noqa: E731
    expected = np.square(REAL.reshape(4, -1)).sum(1) / 2
    np.testing.assert_allclose(r1(critic=critic, images=REAL), expected, rtol=1e-5)
    slope = jax.grad(lambda w: r1(critic=lambda x: (x * w).sum((1, 2, 3)), images=REAL).mean())
    w = jnp.asarray(DRAW.normal(size=SHAPE[1:]), jnp.float32)
    np.testing.assert_allclose(slope(w), w, rtol=1e-5)
    np.testing.assert_array_equal(slope(0 * w), 0 * w)


def test_dragan_is_taken_near_real_images() -> None:
    """Between x and x + std / 2 a number; a linear critic's penalty is the same everywhere."""
    keys = jax.random.split(jax.random.key(1), 500)
    real = jnp.asarray(DRAW.normal(3, 2, (500, 2, 3, 1)), jnp.float32)
    step = np.asarray(perturbed(real=real, keys=keys) - real) / real.std()
    assert step.min() >= -1e-6 and step.max() < 0.5
    assert step.mean() == pytest.approx(0.5 * 0.5 * 0.5, abs=0.01)
    shares = step.max((1, 2, 3))  # an image's share bounds all of its numbers
    assert np.ptp(shares) > 0.3
    w = jnp.asarray(DRAW.normal(size=SHAPE[1:]), jnp.float32)
    got = dragan(critic=lambda x: (x * w).sum((1, 2, 3)), real=REAL, keys=KEYS)
    np.testing.assert_allclose(got, np.full(4, (np.linalg.norm(w) - 1) ** 2), rtol=1e-5)


def test_dragan_takes_the_spread_of_all_devices() -> None:
    real = np.asarray(DRAW.normal(size=(1, 8, 3)) * np.arange(8)[:, None], np.float32)
    keys = jax.random.split(jax.random.key(2), 8)
    whole = perturbed(real=jnp.asarray(real[0]), keys=keys)

    def step(phase: Phase, state: Any, batch: Any, key: jax.Array) -> Any:
        mine = perturbed(real=batch["x"][0], keys=jax.random.wrap_key_data(batch["key"][0]))
        return state, {"sum": mine.mean(), "square": jnp.square(mine).mean()}

    parallel = make_parallel("jit", 8)
    data = np.asarray(jax.random.key_data(keys))[None]
    batch = parallel.place({"x": real, "key": data}, axis=1)
    start = parallel.replicate(lambda: jnp.zeros(()))
    _, got = parallel.compile_step(step)(Phase(), start, batch, jax.random.key(0))
    assert float(got["sum"]) == pytest.approx(float(whole.mean()), rel=1e-5)
    assert float(got["square"]) == pytest.approx(float(jnp.square(whole).mean()), rel=1e-5)


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
