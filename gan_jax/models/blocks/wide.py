"""Broadcasts whose gradients are sums: computed in float32, whatever the activations are.

What is broadcast on the way forward is summed on the way back, in the precision of the broadcast: a
bias that is added to bfloat16 activations has its gradient summed over batch and pixels in
bfloat16, where a sum stops growing once it is 256 times as large as what is added (relative errors
of 0.5 to 0.9 on CPU for [64, 32, 32, C]; kernels, whose sums are those of a matrix product, have
0.003). Here the broadcast is in float32, the result in the precision of the activations, and the
sum that is the gradient is float32 too. A compiler merges the conversions with the arithmetic: no
byte more is read or written.

Every parameter that is broadcast goes through this module, be it a scale, a bias, a gain, an
entry of an embedding or the norm that divides a weight. `tests/bfloat16.py` finds those that do
not, in the program of a whole step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def widen(x: jax.Array) -> jax.Array:
    """Return x in float32; in float64 if that is what it is."""
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
    """Return each example's entry of a table with one a class, [B, ...], in the table's precision.

    Args:
      table: [num_classes, ...].
      labels: int [B], or weights [B, num_classes], which give the weighted sum of the entries.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        # The highest precision, or an accelerator would round the entry of a single class.
        return jnp.einsum("bk,k...->b...", labels.astype(table.dtype), table, precision="highest")
    return widen(table)[labels].astype(table.dtype)
