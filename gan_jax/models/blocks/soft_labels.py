"""A class as a network is given it: its number, or a weight for each class.

Weights are what lies between classes: a network that is given half of one class and half of another
takes the mean of what it has of the two, be that a one-hot vector, a scale and a bias, or an
embedding. A weight of 1 for one class alone is that class.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def one_hot(labels: jax.Array, num_classes: int, dtype: DTypeLike) -> jax.Array:
    """Return the weight of each class, [B, num_classes].

    Args:
      labels: int [B], or those weights.
      num_classes: how many there are.
      dtype: of the result.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels.astype(dtype)
    return jax.nn.one_hot(labels, num_classes, dtype=dtype)
