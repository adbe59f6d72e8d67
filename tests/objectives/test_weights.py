"""Terms on weights, by hand and against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives.weights import clip_weights, historical, orthogonal, updated_history

DRAW = np.random.default_rng(0)
KERNEL = DRAW.normal(size=(3, 3, 2, 4)).astype(np.float32)


def test_orthogonal_is_of_the_columns_of_every_kernel() -> None:
    columns = KERNEL.reshape(-1, 4)
    gram = columns.T @ columns
    expected = np.square(gram * (1 - np.eye(4))).sum()
    params = {
        "conv": {"kernel": jnp.asarray(KERNEL), "bias": jnp.full(4, 9.0)},
        "class": {"embedding": jnp.ones((5, 3))},
        "dense": {"kernel": 7 * jnp.eye(3)},  # orthogonal, whatever its length
    }
    assert float(orthogonal(params=params)) == pytest.approx(float(expected), rel=1e-5)
    # d/dW |W^T W * (1 - I)|^2 = 4 W (W^T W * (1 - I))
    slope = jax.grad(lambda p: orthogonal(params=p))(params)
    expected = 4 * columns @ (gram * (1 - np.eye(4)))
    np.testing.assert_allclose(slope["conv"]["kernel"].reshape(-1, 4), expected, rtol=1e-4)
    assert not slope["conv"]["bias"].any() and not slope["class"]["embedding"].any()


def test_clipped_weights_are_within_the_limit() -> None:
    clipped = clip_weights({"a": {"kernel": KERNEL}}, 0.5)["a"]["kernel"]
    np.testing.assert_array_equal(clipped, np.clip(KERNEL, -0.5, 0.5))


def test_the_history_is_the_mean_of_all_steps() -> None:
    seen = DRAW.normal(size=(6, 5)).astype(np.float32)
    average = {"w": jnp.zeros(5)}
    for step, params in enumerate(seen):
        average = jax.jit(updated_history)(average, {"w": params}, jnp.int32(step))
    np.testing.assert_allclose(average["w"], seen.mean(0), rtol=1e-5, atol=1e-6)
    got = historical(params={"w": jnp.asarray(seen[0])}, average=average)
    assert float(got) == pytest.approx(float(np.square(seen[0] - seen.mean(0)).sum()), rel=1e-5)
