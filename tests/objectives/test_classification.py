"""Cross entropy, angles and squared errors, against closed forms."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives.classification import (
    angle_error_degrees,
    angle_to_vector,
    cross_entropy,
    squared_error,
    vector_to_angle,
)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_its_definition(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (6, 4)).astype(np.float32), rng.integers(0, 4, 6)
    targets = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(
        cross_entropy(logits=logits, labels=labels, label_smoothing=smoothing),
        -(targets * np.log(probs)).sum(1),
        rtol=1e-5,
    )


def test_cross_entropy_of_nothing_known_is_log_k_nats():
    value = cross_entropy(logits=jnp.zeros((2, 10), jnp.bfloat16), labels=jnp.array([0, 9]))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, np.log(10), rtol=1e-6)


def test_cross_entropy_is_finite_far_out():
    value = cross_entropy(logits=jnp.array([[1e4, -1e4]]), labels=jnp.array([1]))
    np.testing.assert_allclose(value, 2e4)


def test_squared_error_is_summed_over_the_vector():
    value = squared_error(prediction=jnp.array([[1.0, 2.0]]), target=jnp.array([[0.0, 0.0]]))
    np.testing.assert_allclose(value, [5.0])
    with pytest.raises(ValueError, match="agree"):
        squared_error(prediction=jnp.zeros((3, 2)), target=jnp.zeros((3, 1)))


def test_angles_there_and_back():
    degrees = jnp.array([-179.0, -90.0, 0.0, 30.0, 135.0])
    np.testing.assert_allclose(vector_to_angle(3 * angle_to_vector(degrees)), degrees, atol=1e-4)
    np.testing.assert_allclose(angle_to_vector(jnp.array([90.0])), [[0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "error"), [(350, 10, 20), (-170, 170, 20), (0, 180, 180), (725, 5, 0), (10, 100, 90)]
)
def test_angle_error_goes_the_short_way(a, b, error):
    for one, other in ((a, b), (b, a)):
        value = angle_error_degrees(
            prediction_degrees=jnp.array([float(one)]), target_degrees=jnp.array([float(other)])
        )
        np.testing.assert_allclose(value, [error], atol=1e-4)
