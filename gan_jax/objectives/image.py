"""Distances between images, one value per image."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def l1(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean absolute difference of each image.

    Args:
      prediction: [B, H, W, C] in [-1, 1].
      target: the same shape.

    Returns:
      [B], the mean over pixels and channels; unit: the [-1, 1] scale of a pixel, so 0 to 2. The
      same as the L1 term in the code of pix2pix (arXiv:1611.07004), which has weight 100. Pixels
      that are equal have a gradient of 0, as in PyTorch; the derivative of JAX's abs at 0 is 1.
    """
    return absolute(prediction=prediction, target=target).mean((1, 2, 3))


def absolute(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the absolute difference of each pixel; that of `l1`, for losses that weigh pixels.

    Args:
      prediction: [B, H, W, C].
      target: the same shape.

    Returns:
      The same shape; where both are equal the gradient is 0.
    """
    difference = _difference(prediction, target)
    return jnp.sign(difference) * difference


def l2(*, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean squared difference of each image.

    Args:
      prediction: [B, H, W, C] in [-1, 1].
      target: the same shape.

    Returns:
      [B], the mean over pixels and channels; unit: the square of the [-1, 1] scale, so 0 to 4. Not
      the likelihood term of a VAE, which is summed over pixels.
    """
    return jnp.square(_difference(prediction, target)).mean((1, 2, 3))


def charbonnier(*, prediction: jax.Array, target: jax.Array, epsilon: float = 1e-3) -> jax.Array:
    """Return the mean Charbonnier distance of each image: L1, rounded off near 0.

    sqrt(d^2 + epsilon^2) (Charbonnier et al. 1994; arXiv:1704.03915, section 3.3).

    Args:
      prediction: [B, H, W, C] in [-1, 1].
      target: the same shape.
      epsilon: in the unit of a pixel, [-1, 1]; the papers' 1e-3 is of images in [0, 1].

    Returns:
      [B], the mean over pixels and channels, at least epsilon.
    """
    square = jnp.square(_difference(prediction, target))
    return jnp.sqrt(square + epsilon**2).mean((1, 2, 3))


def _difference(prediction: jax.Array, target: jax.Array) -> jax.Array:
    # Broadcasting would be a silent mistake.
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must agree")
    return prediction.astype(jnp.float32) - target.astype(jnp.float32)
