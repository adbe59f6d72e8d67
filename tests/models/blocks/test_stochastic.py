"""Dropout: the right share, the right scale, and a mask for each example by its own key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models.blocks.stochastic import dropout, make_dropout

KEYS = jax.random.split(jax.random.key(0), 4)
X = jnp.ones((4, 50, 40))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_share_and_scale(rate: float) -> None:
    y = np.asarray(dropout(X, KEYS, rate))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    # 2000 draws an example: five standard deviations.
    assert np.abs(kept.mean((1, 2)) - (1 - rate)).max() < 5 * np.sqrt(rate * (1 - rate) / 2000)


def test_an_example_does_not_depend_on_the_others() -> None:
    y = dropout(X, KEYS, 0.5)
    assert (dropout(X[2:3], KEYS[2:3], 0.5) == y[2:3]).all()
    assert (dropout(X[::-1], KEYS[::-1], 0.5) == y[::-1]).all()
    assert (y[0] != y[1]).any()
    assert (dropout(X, KEYS, 0.5) == y).all()


def test_nothing_is_dropped() -> None:
    assert dropout(X, KEYS, 0) is X and dropout(X, KEYS, 0.0) is X


def test_gradient_and_type() -> None:
    def total(x: jax.Array) -> jax.Array:
        return dropout(x, KEYS, 0.5).sum()

    np.testing.assert_array_equal(jax.grad(total)(X), dropout(X, KEYS, 0.5))
    assert dropout(X.astype(jnp.bfloat16), KEYS, 0.3).dtype == jnp.bfloat16
    assert dropout(jnp.full((4, 100), jnp.inf), KEYS, 0.5).max() == jnp.inf
    assert not jnp.isnan(dropout(jnp.full((4, 100), jnp.inf), KEYS, 0.5)).any()


def test_layers_of_a_pass_draw_apart() -> None:
    drop = make_dropout(0.5, KEYS, of="Net")
    first, second = drop(X, 0), drop(X, 1)
    assert (first != second).any() and (first == drop(X, 0)).all()
    np.testing.assert_array_equal(first[2:], make_dropout(0.5, KEYS[2:], of="Net")(X[2:], 0))
    assert make_dropout(0.0, None, of="Net")(X, 0) is X
    with pytest.raises(ValueError, match="Net: keys=None"):
        make_dropout(0.5, None, of="Net")
