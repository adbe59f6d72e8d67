"""Broadcast parameters in float32, so that their gradients are summed in float32.

The gradient of a broadcast is a sum, computed in the precision of the broadcast: a bias added to
bfloat16 activations has its gradient summed over batch and pixels in bfloat16, where a sum stops
growing once it is 256 times as large as the summands (relative errors of 0.5 to 0.9 on CPU for
[64, 32, 32, C]; kernel gradients, which are matrix products, have 0.003). Here the broadcast is in
float32 and only the result is cast to the precision of the activations, so that the gradient is
summed in float32. The compiler fuses the casts with the arithmetic: no additional memory traffic.

Every broadcast parameter goes through this module, be it a scale, a bias, a gain, an entry of an
embedding or the norm that divides a weight. `tests/bfloat16.py` finds those that do not, in the
program of a whole step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def widen(x: jax.Array) -> jax.Array:
    """Return x in float32, or in float64 if it is float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def affine(
    x: jax.Array, *, scale: jax.Array | None = None, offset: jax.Array | None = None
) -> jax.Array:
    """Return scale * x + offset in the precision of x.

    Args:
      x: activations.
      scale: of a shape that broadcasts against x; None for 1.
      offset: likewise; None for 0.
    """
    made = widen(x)
    if scale is not None:
        made = made * widen(scale)
    if offset is not None:
        made = made + widen(offset)
    return made.astype(x.dtype)


def entries(table: jax.Array, labels: jax.Array) -> jax.Array:
    """Return each example's entry [B, ...] of a table with one entry per class, in its precision.

    Args:
      table: [num_classes, ...].
      labels: int [B], or weights [B, num_classes], which give the weighted sum of the entries.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        # Highest precision: otherwise accelerators would round even the entry of a single class.
        return jnp.einsum("bk,k...->b...", labels.astype(table.dtype), table, precision="highest")
    return widen(table)[labels].astype(table.dtype)
