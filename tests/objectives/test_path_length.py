"""Path lengths against what a linear generator has in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives.path_length import path_lengths, updated_length

DRAW = np.random.default_rng(0)


def test_of_a_linear_generator_in_closed_form() -> None:
    """J is the matrix: E |J^T y|^2 is its squared Frobenius norm over the pixels H W."""
    matrix = jnp.asarray(DRAW.normal(size=(3, 4 * 5 * 2)), jnp.float32)
    generate = lambda z: (z @ matrix).reshape(-1, 4, 5, 2)  # noqa: E731
    latents = jnp.asarray(DRAW.normal(size=(4000, 3)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4000)
    lengths = path_lengths(generate, latents, keys)
    assert lengths.shape == (4000,)
    expected = float(jnp.square(matrix).sum()) / (4 * 5)
    assert float(jnp.square(lengths).mean()) == pytest.approx(expected, rel=0.03)
    # By hand of one: the slope of the projected image.
    noise = jax.random.normal(keys[7], (4, 5, 2)) / np.sqrt(20)
    by_hand = jnp.linalg.norm(matrix @ noise.reshape(-1))
    assert float(lengths[7]) == pytest.approx(float(by_hand), rel=1e-5)


def test_an_isometry_has_equal_lengths_and_a_stretched_axis_has_not() -> None:
    latents = jnp.asarray(DRAW.normal(size=(64, 16)), jnp.float32)
    keys = jax.random.split(jax.random.key(1), 64)
    equal, stretched = (
        path_lengths(lambda z, s=scale: (z * s).reshape(-1, 4, 4, 1), latents, keys)
        for scale in (jnp.ones(16), jnp.ones(16).at[0].set(20.0))
    )
    assert float(equal.std() / equal.mean()) < 0.25 < float(stretched.std() / stretched.mean())


def test_the_slope_is_finite_where_nothing_moves() -> None:
    def mean(scale: jax.Array) -> jax.Array:
        generate = lambda z: jnp.tile((scale * z)[:, None, None], (1, 2, 2, 1))  # noqa: E731
        keys = jax.random.split(jax.random.key(0), 3)
        return path_lengths(generate, jnp.ones((3, 1)), keys).mean()

    assert float(mean(jnp.zeros(()))) == 0
    assert np.isfinite(float(jax.grad(mean)(jnp.zeros(()))))


def test_the_running_mean() -> None:
    assert float(updated_length(jnp.float32(2.0), jnp.float32(4.0))) == pytest.approx(2.02)
