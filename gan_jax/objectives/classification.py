"""Losses and errors of classifiers and regressors, one value per example."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(
    *, logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0
) -> jax.Array:
    """Return the cross entropy of each example.

    Args:
      logits: [B, K].
      labels: integers [B] in [0, K).
      label_smoothing: share of the target that is spread evenly over all K classes, in [0, 1)
        (arXiv:1512.00567, section 7).

    Returns:
      [B], nats per example.
    """
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(log_probs, labels[:, None], -1)[:, 0]
    return -(1 - label_smoothing) * picked - label_smoothing * log_probs.mean(-1)


def squared_error(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the squared distance of each vector.

    Args:
      prediction: [B, D].
      target: [B, D].

    Returns:
      [B], summed over D; unit: the target's, squared.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must agree")
    return jnp.square(prediction.astype(jnp.float32) - target.astype(jnp.float32)).sum(-1)


def angle_to_vector(degrees: jax.Array) -> jax.Array:
    """Return (cos, sin) [B, 2] of angles [B] in degrees: a continuous regression target."""
    radians = jnp.deg2rad(degrees)
    return jnp.stack([jnp.cos(radians), jnp.sin(radians)], -1)


def vector_to_angle(vector: jax.Array) -> jax.Array:
    """Return the angles [B], in degrees in [-180, 180], of vectors [B, 2] of any length."""
    return jnp.rad2deg(jnp.arctan2(vector[..., 1], vector[..., 0]))


def angle_error_degrees(*, prediction_degrees: jax.Array, target_degrees: jax.Array) -> jax.Array:
    """Return the distance on the circle, [B] in degrees in [0, 180].

    Args:
      prediction_degrees: [B], any real number.
      target_degrees: [B], any real number.
    """
    return jnp.abs(jnp.mod(prediction_degrees - target_degrees + 180, 360) - 180)
