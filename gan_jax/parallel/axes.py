"""What a step may ask of its devices, wherever it runs.

A train step is written once, for "the batch", and runs on each device with that device's slice of
it. Only the functions of this file know: they talk to the other devices inside of a step that
`gan_jax.parallel.mesh` spreads, and answer for the one whole batch outside (initialisation,
evaluation, sampling, tests).

Each of them is one collective that stands where it is written. The alternative, to leave the
collectives to XLA's sharding propagation, reduces a weight's gradient once for every use of it:
for real and fake images apart, and in every microbatch.
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
      names: those that the batch is split over; none on a single device, where XLA would keep the
        copies that a reduction over one makes.
      platform: of the devices.
      shards: how many devices share one copy of the parameters; above 1 they lie on axis "fsdp".
    """

    names: tuple[str, ...]
    platform: str
    shards: int = 1


# Tracing is synchronous, so a context variable is exact here, and no layer has to be told the name
# of an axis through every constructor.
_current: contextvars.ContextVar[Axes | None] = contextvars.ContextVar("axes", default=None)


@contextlib.contextmanager
def mapped(axes: Axes) -> Iterator[None]:
    """Trace a step that runs on every device with a slice of the batch."""
    token = _current.set(axes)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Axes | None:
    """Return the axes of the step that is being traced; None outside."""
    return _current.get()


def axis_mean(tree: Any) -> Any:
    """Average a pytree over the devices; the identity outside of a step."""
    axes = current()
    return jax.lax.pmean(tree, axes.names) if axes and axes.names else tree


def axis_sum(tree: Any) -> Any:
    """Sum a pytree over the devices; the identity outside of a step."""
    axes = current()
    return jax.lax.psum(tree, axes.names) if axes and axes.names else tree


def axis_gather(x: jax.Array) -> jax.Array:
    """Concatenate the slices of a batch, [B/devices, ...] -> [B, ...]; else the identity."""
    axes = current()
    return jax.lax.all_gather(x, axes.names, tiled=True) if axes and axes.names else x


def axis_index() -> jax.Array | int:
    """Return the place of this device's slice in the batch; 0 outside, where the batch is whole."""
    axes = current()
    return jax.lax.axis_index(axes.names) if axes and axes.names else 0


def axis_size() -> int:
    """Return how many slices the batch has: one a device, and 1 outside of a step."""
    axes = current()
    return jax.lax.axis_size(axes.names) if axes and axes.names else 1


def example_keys(key: jax.Array, batch: int) -> jax.Array:
    """Return one PRNG key an example, equal however the batch is spread over devices.

    Args:
      key: a typed key, used for nothing else.
      batch: the leading size of the arrays at hand: a device's slice inside of a step.

    Returns:
      Keys [batch]: `fold_in(key, global example index)`.
    """
    return fold_in_each(key, axis_index() * batch + jnp.arange(batch))


def loop(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, list[Any]]:
    """Run `body(carry, x) -> (carry, y)` over the leading axis of `xs`.

    Compiled once as a loop on accelerators; unrolled on CPU, where XLA runs a convolution inside
    of a loop fifteen times slower. The two differ in the last bits.

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
