"""Collectives for code inside a train step, usable with or without mapped axes.

A train step is written once, for "the batch", and runs on each device with that device's slice of
it. Only the functions in this file depend on that: inside a step distributed by
`gan_jax.parallel.mesh` they communicate with the other devices; outside (initialisation,
evaluation, sampling, tests) they treat the batch as whole.

Each is one explicit collective. The alternative, XLA's sharding propagation, would reduce a
weight's gradient once per use: separately for real and fake images, and in every microbatch.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.core.keys import fold_in_each

DATA, FSDP = "data", "fsdp"


@dataclasses.dataclass(frozen=True)
class Axes:
    """The mapped axes of the step that is being traced.

    Attributes:
      names: axes that the batch is split over; none on a single device, where XLA would not remove
        the copies made by a reduction over one device.
      platform: platform of the devices.
      shards: number of devices that share one copy of the parameters; if above 1, they form axis
        "fsdp".
    """

    names: tuple[str, ...]
    platform: str
    shards: int = 1


# Tracing is synchronous, so a context variable is safe here, and axis names need not be passed
# through the constructors of all layers.
_current: contextvars.ContextVar[Axes | None] = contextvars.ContextVar("axes", default=None)


@contextlib.contextmanager
def mapped(axes: Axes) -> Iterator[None]:
    """Context in which to trace a step that runs on every device with a slice of the batch."""
    token = _current.set(axes)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Axes | None:
    """Return the axes of the step that is being traced; None outside a step."""
    return _current.get()


def axis_mean(tree: Any) -> Any:
    """Average a pytree over the devices; the identity outside a step."""
    axes = current()
    return jax.lax.pmean(tree, axes.names) if axes and axes.names else tree


def axis_sum(tree: Any) -> Any:
    """Sum a pytree over the devices; the identity outside a step."""
    axes = current()
    return jax.lax.psum(tree, axes.names) if axes and axes.names else tree


def axis_gather(x: jax.Array) -> jax.Array:
    """Concatenate the slices of a batch, [B/devices, ...] -> [B, ...]; identity outside a step."""
    axes = current()
    return jax.lax.all_gather(x, axes.names, tiled=True) if axes and axes.names else x


def axis_index() -> jax.Array | int:
    """Return the index of this device's slice of the batch; 0 outside a step."""
    axes = current()
    return jax.lax.axis_index(axes.names) if axes and axes.names else 0


def axis_size() -> int:
    """Return the number of slices of the batch: one per device, and 1 outside a step."""
    axes = current()
    return jax.lax.axis_size(axes.names) if axes and axes.names else 1


def example_keys(key: jax.Array, batch: int) -> jax.Array:
    """Return one PRNG key per example, independent of how the batch is split over devices.

    Args:
      key: a typed key, used for nothing else.
      batch: the leading size of the local arrays: inside a step, of a device's slice.

    Returns:
      Keys [batch]: `fold_in(key, global example index)`.
    """
    return fold_in_each(key, axis_index() * batch + jnp.arange(batch))


def loop(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, list[Any]]:
    """Run `body(carry, x) -> (carry, y)` over the leading axis of `xs`.

    Compiled as a loop on accelerators; unrolled on CPU, where XLA runs a convolution inside a loop
    fifteen times slower. The two differ in the last bits.

    Returns:
      (carry, [y, ...]).
    """

    def split(tree: Any) -> list[Any]:
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(length)]

    length = len(jax.tree.leaves(xs)[0])
    platform = current().platform if current() else jax.default_backend()
    if length > 1 and platform != "cpu":
        carry, ys = jax.lax.scan(body, carry, xs)
        return carry, split(ys)
    ys = []
    for x in split(xs):
        carry, y = body(carry, x)
        ys.append(y)
    return carry, ys
