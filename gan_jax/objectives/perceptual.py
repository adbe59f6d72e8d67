"""Distances between activations of a fixed network, as losses of restoration and translation."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from gan_jax.objectives.image import l1


def activation_l1(
    *, prediction: Mapping[str, jax.Array], target: Mapping[str, jax.Array]
) -> jax.Array:
    """Return the mean absolute difference of activations, averaged over layers.

    The perceptual loss of ESRGAN (arXiv:1809.00219, equation 3, and the authors' code), of which
    only one layer is used. SRGAN's is the squared difference after the activation function
    (arXiv:1609.04802, equation 5).

    Args:
      prediction: activations [B, H, W, C] by layer; shapes may differ between layers.
      target: the same layers and shapes; no gradient flows into them.

    Returns:
      [B], in the activations' unit.

    Raises:
      ValueError: for different layers or shapes.
    """
    if set(prediction) != set(target):
        raise ValueError(f"layers {sorted(prediction)} and {sorted(target)} must agree")
    fixed = jax.lax.stop_gradient(dict(target))
    layers = [l1(prediction=x, target=fixed[name]) for name, x in prediction.items()]
    return jnp.stack(layers).mean(0)
