"""Gradients of a mean over the batch, in one go or summed over microbatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.parallel.axes import loop

Loss = Callable[[Any, Any, Any], tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]]


def mean_gradients(
    loss: Loss, params: Any, extra: Any, inputs: Any, *, microbatches: int = 1
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """Differentiate a mean loss, holding the activations of one microbatch at a time.

    The result is that of the whole batch where examples do not meet. Batch normalisation makes
    them meet: its statistics are then those of a microbatch (over all devices), and the running
    ones move once a microbatch.

    Args:
      loss: (params, extra, inputs) -> (mean over the examples, (new extra, metrics)), the metrics
        means as well.
      params: to differentiate by.
      extra: other collections, such as batch statistics; each microbatch gets those that the one
        before it returned.
      inputs: pytree of [B, ...], one entry an example; everything drawn is among them.
      microbatches: parts of the batch, of B / microbatches examples each.

    Returns:
      (gradients, extra, metrics): of this device, not yet averaged over others.
    """
    differentiate = jax.grad(loss, has_aux=True)
    if microbatches == 1:
        gradients, (extra, metrics) = differentiate(params, extra, inputs)
        return gradients, extra, metrics

    def body(carry: tuple[Any, Any], part: Any) -> tuple[tuple[Any, Any], dict[str, jax.Array]]:
        total, extra = carry
        gradients, (extra, metrics) = differentiate(params, extra, part)
        return (jax.tree.map(jnp.add, total, gradients), extra), metrics

    # Every so-many-th example, not the next so many: the same examples meet in a microbatch however
    # many devices share the batch.
    def split(x: jax.Array) -> jax.Array:
        return x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)

    parts = jax.tree.map(split, inputs)
    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, extra), metrics = loop(body, (zeros, extra), parts)
    mean = lambda *values: sum(values) / microbatches  # noqa: E731
    return jax.tree.map(mean, total), extra, jax.tree.map(mean, *metrics)
