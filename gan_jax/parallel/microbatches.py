"""Gradients of a mean over the batch, at once or accumulated over microbatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.parallel.axes import loop

# (extra, part) -> (gradients, (new extra, means, outputs))
Differentiate = Callable[[Any, Any], tuple[Any, tuple[Any, Any, Any]]]


def sum_over_microbatches(
    differentiate: Differentiate, params: Any, extra: Any, inputs: Any, *, microbatches: int = 1
) -> tuple[Any, tuple[Any, Any, Any]]:
    """Return mean gradients over the batch, holding the activations of one microbatch at a time.

    The result equals that of the whole batch if examples do not interact. Batch normalisation makes
    them interact: its statistics are then those of a microbatch (over all devices), and the running
    statistics are updated once per microbatch.

    Args:
      differentiate: (extra, part of the inputs) -> (gradients of a mean over the part, (new extra,
        means, outputs)): means are a pytree of means over the part as well, outputs one of
        [B / microbatches, ...].
      params: pytree with the structure and shapes of the gradients.
      extra: collections such as batch statistics; each microbatch gets those returned by the
        previous one.
      inputs: pytree of [B, ...], one entry per example, including all random draws.
      microbatches: number of parts of the batch, of B / microbatches examples each.

    Returns:
      (gradients, (extra, means, outputs)) of this device, not yet averaged over devices; outputs
      [B, ...] are in the order of the inputs.
    """
    if microbatches == 1:
        return differentiate(extra, inputs)

    def body(carry: tuple[Any, Any], part: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        total, extra = carry
        gradients, (extra, *rest) = differentiate(extra, part)
        return (jax.tree.map(jnp.add, total, gradients), extra), tuple(rest)

    # A microbatch takes every n-th example, not n consecutive ones: so it holds the same examples
    # however many devices share the batch.
    def split(x: jax.Array) -> jax.Array:
        return x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)

    def joined(*parts: jax.Array) -> jax.Array:
        return jnp.stack(parts, 1).reshape(-1, *parts[0].shape[1:])

    parts = jax.tree.map(split, inputs)
    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, extra), found = loop(body, (zeros, extra), parts)
    mean = lambda *values: sum(values) / microbatches  # noqa: E731
    means, outputs = ([row[i] for row in found] for i in range(2))
    return jax.tree.map(mean, total), (
        extra,
        jax.tree.map(mean, *means),
        jax.tree.map(joined, *outputs),
    )
