"""Fully sharded data parallelism: each device of axis "fsdp" holds a shard of every large array.

Inside a step a network's parameters are whole (`gather`); its optimizer state and moving average
stay sharded. An update reduces the gradients directly into shards (`reduce_gradients`: one
reduce-scatter per array), updates the device's own shard of the parameters (`own`), and gathers the
result. Outside a step the arrays carry their sharding, and XLA does the rest.

This is ZeRO-3 between steps and ZeRO-2 within (arXiv:1910.02054): during a step each device holds
one whole copy of the parameters of every network that it uses.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.tree_util import GetAttrKey

from gan_jax.parallel.axes import DATA, FSDP, axis_mean, current

# Fields of a NetState that are sharded; statistics and buffers are replicated.
SHARDED = ("params", "opt_state", "ema")

# id(gathered array) -> (that array, its shard), for the step being traced. `own` returns the shard
# directly, so that XLA can drop a gather whose result is not used.
_shards: contextvars.ContextVar[dict[int, tuple[Any, Any]]] = contextvars.ContextVar("shards")


def shard_axis(shape: tuple[int, ...], shards: int) -> int | None:
    """Return the axis along which an array is sharded, the longest divisible one; None for none.

    Vectors (biases, scales) stay whole: they are small, and a collective for each would cost more.
    """
    if shards == 1 or len(shape) < 2:
        return None
    fit = [(size, axis) for axis, size in enumerate(shape) if size and size % shards == 0]
    return max(fit)[1] if fit else None


def specs(state: Any, shards: int) -> Any:
    """Return the PartitionSpec of every array of a TrainState, from its global shape."""

    def spec(path: tuple[Any, ...], x: Any) -> PartitionSpec:
        if not any(isinstance(key, GetAttrKey) and key.name in SHARDED for key in path):
            return PartitionSpec()
        axis = shard_axis(np.shape(x), shards)
        return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, FSDP)

    return jax.tree_util.tree_map_with_path(spec, state)


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Record which shard each gathered array comes from while a step is traced."""
    token = _shards.set({})
    try:
        yield
    finally:
        _shards.reset(token)


def gather_params(state: Any, like: Any) -> Any:
    """Gather the parameters of all networks.

    Args:
      state: the state local to a device.
      like: the same tree, with the global shapes.
    """
    return _map_params(_gather, state, like)


def own_params(state: Any) -> Any:
    """Return the state with this device's parameter shards: the inverse of `gather_params`."""
    return _map_params(lambda x, _: _own(x), state, state)


def gather(shards: Any, like: Any) -> Any:
    """Gather a network's parameters; `like` has the global shapes."""
    return jax.tree.map(_gather, shards, like)


def own(params: Any) -> Any:
    """Return this device's shards of whole parameters."""
    return jax.tree.map(_own, params)


def reduce_gradients(gradients: Any) -> Any:
    """Average whole gradients over all devices; return this device's shards of the result."""
    axes = current()
    if axes is None or axes.shards == 1:
        return axis_mean(gradients)

    def reduce(x: jax.Array) -> jax.Array:
        axis = shard_axis(x.shape, axes.shards)
        if axis is None:
            return axis_mean(x)
        part = jax.lax.psum_scatter(x, FSDP, scatter_dimension=axis, tiled=True) / axes.shards
        return jax.lax.pmean(part, DATA)

    return jax.tree.map(reduce, gradients)


def global_norm(shards: Any, like: Any) -> jax.Array:
    """Return the L2 norm of a pytree of shards; `like` has the global shapes."""
    axes = current()
    whole, parts = jnp.zeros(()), jnp.zeros(())
    for x, full in zip(jax.tree.leaves(shards), jax.tree.leaves(like), strict=True):
        square = jnp.square(x.astype(jnp.float32)).sum()
        if axes is None or shard_axis(full.shape, axes.shards) is None:
            whole += square
        else:
            parts += square
    if axes is not None and axes.shards > 1:
        parts = jax.lax.psum(parts, FSDP)
    return jnp.sqrt(whole + parts)


def _gather(shard: jax.Array, like: Any) -> jax.Array:
    axes = current()
    axis = None if axes is None else shard_axis(like.shape, axes.shards)
    if axis is None:
        return shard
    whole = jax.lax.all_gather(shard, FSDP, axis=axis, tiled=True)
    _shards.get()[id(whole)] = (whole, shard)
    return whole


def _own(whole: jax.Array) -> jax.Array:
    axes = current()
    axis = None if axes is None else shard_axis(whole.shape, axes.shards)
    if axis is None:
        return whole
    if id(whole) in _shards.get():
        return _shards.get()[id(whole)][1]
    size = whole.shape[axis] // axes.shards
    start = jax.lax.axis_index(FSDP) * size
    return jax.lax.dynamic_slice_in_dim(whole, start, size, axis)


def _map_params(function: Any, state: Any, like: Any) -> Any:
    def visit(path: tuple[Any, ...], x: Any, other: Any) -> Any:
        inside = any(isinstance(key, GetAttrKey) and key.name == "params" for key in path)
        return function(x, other) if inside else x

    return jax.tree_util.tree_map_with_path(visit, state, like)
