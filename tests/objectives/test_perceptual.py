"""The distance of activations by hand, and where its gradient flows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives.perceptual import activation_l1


def test_by_hand() -> None:
    prediction = {"a": jnp.array([3.0, 4.0]).reshape(1, 1, 1, 2), "b": jnp.ones((1, 2, 3, 1))}
    target = {"a": jnp.array([1.0, 5.0]).reshape(1, 1, 1, 2), "b": 5 * jnp.ones((1, 2, 3, 1))}
    loss = lambda x, y: activation_l1(prediction=x, target=y)  # noqa: E731
    np.testing.assert_allclose(loss(prediction, target), [((2 + 1) / 2 + 4) / 2], rtol=1e-6)
    total = lambda x, y: loss(x, y).sum()  # noqa: E731
    moved, fixed = jax.grad(total, (0, 1))(prediction, target)
    np.testing.assert_allclose(moved["a"].ravel(), [1 / 4, -1 / 4], rtol=1e-6)
    np.testing.assert_allclose(moved["b"].ravel(), -1 / 12, rtol=1e-6)
    assert not any(np.any(x) for x in fixed.values())
    assert not any(np.any(x) for x in jax.grad(total)(target, target).values())
    with pytest.raises(ValueError, match="must agree"):
        loss(prediction, {"a": target["a"]})
