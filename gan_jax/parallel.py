"""Devices: the mesh, batch placement, and the compilation of a step under jit or pmap.

This is the only file that knows how a program is spread. A step is written once, for "the batch":

* under `jit` (the default) the batch is the global one, sharded over a NamedSharding mesh, and a
  mean over it is already the global mean: `axis_mean` is the identity;
* under `pmap` the batch is one device's slice, and `axis_mean` averages over the named axis.

Both keep the TrainState replicated and in one layout, without a device axis, so that a checkpoint
of one mode resumes in the other. Evaluation and sampling always run under jit: they are one map
over examples, and need no second form.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gan_jax.errors import UserError, check_choice
from gan_jax.keys import fold_in_each

AXIS = "data"

# Set while a step is traced for pmap. Tracing is synchronous, so a context variable is exact here,
# and no layer has to be told the name of an axis through every constructor.
_under_pmap: contextvars.ContextVar[bool] = contextvars.ContextVar("under_pmap", default=False)


@contextlib.contextmanager
def _tracing_pmap() -> Iterator[None]:
    token = _under_pmap.set(True)
    try:
        yield
    finally:
        _under_pmap.reset(token)


def axis_mean(tree: Any) -> Any:
    """Average a pytree over the devices of a pmapped step; the identity under jit."""
    return jax.lax.pmean(tree, AXIS) if _under_pmap.get() else tree


def axis_sum(tree: Any) -> Any:
    """Sum a pytree over the devices of a pmapped step; the identity under jit."""
    return jax.lax.psum(tree, AXIS) if _under_pmap.get() else tree


def axis_gather(x: jax.Array) -> jax.Array:
    """Concatenate the slices of a batch, [B/devices, ...] -> [B, ...]; the identity under jit."""
    return jax.lax.all_gather(x, AXIS, tiled=True) if _under_pmap.get() else x


def axis_index() -> jax.Array | int:
    """Return the place of this slice of the batch; 0 under jit, where the batch is whole."""
    return jax.lax.axis_index(AXIS) if _under_pmap.get() else 0


def example_keys(key: jax.Array, batch: int) -> jax.Array:
    """Return one PRNG key an example, equal however the batch is spread over devices.

    Args:
      key: a typed key, used for nothing else.
      batch: the leading size of the arrays at hand: the global batch under jit, a slice under pmap.

    Returns:
      Keys [batch]: `fold_in(key, global example index)`.
    """
    return fold_in_each(key, axis_index() * batch + jnp.arange(batch))


@dataclasses.dataclass(frozen=True)
class Parallel:
    """How a program is spread: the mode of its train step and the mesh of devices.

    Attributes:
      mode: "jit" or "pmap".
      mesh: one axis, named "data".
    """

    mode: str
    mesh: Mesh

    @property
    def devices(self) -> int:
        """Number of devices in the mesh."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of the state: a whole copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batched(self) -> NamedSharding:
        """Sharding of `[B, ...]`: split over the devices along its first axis."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def round_up(self, size: int) -> int:
        """Return the least batch size of at least `size` that divides over the devices."""
        return -(-size // self.devices) * self.devices

    def check_batch(self, what: str, size: int) -> None:
        """Raise UserError unless a batch of `size` divides over the devices."""
        if size % self.devices:
            below = size - size % self.devices
            near = f"{below} or {below + self.devices}" if below else f"{self.devices}"
            raise UserError(
                f"{what}={size} does not divide over {self.devices} devices: use {near}"
                f" (or --config.train.devices=1)"
            )

    def place(self, batch: Any, axis: int = 0) -> Any:
        """Put host arrays on the devices, split along the batch axis.

        Args:
          batch: pytree of arrays that hold this process's examples, batch axis at `axis`.
          axis: 0 for `[B, ...]`, 1 for `[draws, B, ...]`.
        """
        sharding = NamedSharding(self.mesh, PartitionSpec(*([None] * axis), AXIS))
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
        )

    def compile_init(self, init: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
        """Compile `init` so that its arrays are born replicated on the mesh."""
        return jax.jit(init, out_shardings=self.replicated)

    def compile_map(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile `function(state, *arrays)` that maps over a placed batch."""
        return jax.jit(function)

    def compile_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile `step(phase, state, batch, key) -> (state, metrics)`; the state is donated.

        Args:
          step: written for "the batch", with leaves [draws, B, ...]; `phase` is static.

        Returns:
          A function of the same signature; `batch` as made by `place(..., axis=1)`.
        """
        if self.mode == "jit":
            return jax.jit(step, static_argnums=0, donate_argnums=1, out_shardings=self.replicated)

        def sliced(phase: Any, state: Any, batch: Any, key: jax.Array) -> Any:
            with _tracing_pmap():
                state, metrics = step(phase, state, batch, key)
                return state, axis_mean(metrics)

        mapped = jax.pmap(
            sliced,
            axis_name=AXIS,
            in_axes=(None, None, 1, None),
            out_axes=None,
            static_broadcasted_argnums=0,
            devices=list(self.mesh.devices.flat),
            donate_argnums=1,
        )

        def call(phase: Any, state: Any, batch: Any, key: jax.Array) -> Any:
            # pmap wants a device axis: [draws, B, ...] -> [draws, devices, B / devices, ...].
            split = jax.tree.map(
                lambda x: x.reshape(x.shape[0], self.devices, -1, *x.shape[2:]), batch
            )
            state, metrics = mapped(phase, state, split, key)
            return jax.device_put((state, metrics), self.replicated)

        return call


def make_parallel(mode: str = "jit", devices: int = 0) -> Parallel:
    """Build the mesh.

    Args:
      mode: "jit" or "pmap".
      devices: how many to use; 0 for all.

    Raises:
      UserError: for an unknown mode, or more devices than there are.
    """
    check_choice("train.parallel", mode, ("jit", "pmap"))
    there = jax.devices()
    if devices > len(there):
        raise UserError(f"train.devices={devices}: this machine has {len(there)}; 0 means all")
    chosen = there[: devices or len(there)]
    mesh = jax.make_mesh((len(chosen),), (AXIS,), devices=chosen, axis_types=(AxisType.Auto,))
    return Parallel(mode, mesh)
