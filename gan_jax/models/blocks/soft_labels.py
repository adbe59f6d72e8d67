"""Class labels of networks: integers, or a weight per class.

Weights interpolate between classes: with half of one class and half of another, a network uses the
mean of their one-hot vectors, of their scales and biases, or of their embeddings. Weight 1 on a
single class is that class.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def one_hot(labels: jax.Array, num_classes: int, dtype: DTypeLike) -> jax.Array:
    """Return the weight of each class, [B, num_classes].

    Args:
      labels: int [B], or weights [B, num_classes].
      num_classes: number of classes.
      dtype: of the result.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels.astype(dtype)
    return jax.nn.one_hot(labels, num_classes, dtype=dtype)
