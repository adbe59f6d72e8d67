"""Devices: the mesh, placement of state and batches, and compilation of a step under jit or pmap.

This is the only file that knows how a program is distributed. A train step runs on every device
with its slice of the batch, and communicates through the functions of `gan_jax.parallel.axes`. Both
modes trace the same step:

* `jit` (the default) maps it over a mesh of two axes. The batch is split over both; parameters and
  optimizer state may be split over the second, see `gan_jax.parallel.fsdp`;
* `pmap` maps it over one axis, with the state replicated.

The state has the same layout in both, without a device axis, so that a checkpoint of one mode
resumes in the other. Evaluation and sampling always run under plain jit, as a map over examples.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gan_jax.core.errors import UserError, check_choice
from gan_jax.parallel import fsdp
from gan_jax.parallel.axes import DATA, FSDP, Axes, axis_mean, mapped
from gan_jax.parallel.resident import Resident
from gan_jax.platform.heap import claim_fragments_after_compiling

AXES = (DATA, FSDP)  # the mesh axes that a batch is split over


@dataclasses.dataclass(frozen=True)
class Parallel:
    """How a program is distributed: the mode of its train step and the mesh of devices.

    Attributes:
      mode: "jit" or "pmap".
      mesh: axes "data" and "fsdp"; parameters are split over the second.
      target: platform to compile for, if the devices of the mesh stand in for others; else "".
    """

    mode: str
    mesh: Mesh
    target: str = ""

    @property
    def devices(self) -> int:
        """Number of devices in the mesh, over all processes."""
        return self.mesh.size

    @property
    def shards(self) -> int:
        """Number of devices that share one copy of the parameters."""
        return self.mesh.shape[FSDP]

    @property
    def platform(self) -> str:
        """Platform of the devices: "cpu", "gpu" or "tpu"."""
        return self.target or self.mesh.devices.flat[0].platform

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of arrays that are replicated on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def split(self, axis: int = 0) -> NamedSharding:
        """Return the sharding of a batch: `axis` is split over all devices."""
        return NamedSharding(self.mesh, PartitionSpec(*([None] * axis), AXES))

    def shardings(self, state: Any) -> Any:
        """Return the sharding of every array of a TrainState, concrete or abstract."""
        return jax.tree.map(
            functools.partial(NamedSharding, self.mesh), fsdp.specs(state, self.shards)
        )

    def round_up(self, size: int) -> int:
        """Return the smallest batch size of at least `size` that divides over the devices."""
        return -(-size // self.devices) * self.devices

    def check_batch(self, what: str, size: int, microbatches: int = 1) -> None:
        """Raise UserError unless a batch of `size` divides over the devices (and microbatches)."""
        parts = self.devices * microbatches
        if size % parts:
            below = size - size % parts
            near = f"{below} or {below + parts}" if below else f"{parts}"
            over = f"{self.devices} devices"
            if microbatches > 1:
                over += f" x {microbatches} microbatches (train.microbatches)"
            raise UserError(
                f"{what}={size} does not divide over {over}: use {near}"
                f" (or --config.train.devices=1)"
            )

    def place(self, batch: Any, axis: int = 0) -> Any:
        """Put host arrays on the devices, split along the batch axis.

        Args:
          batch: pytree of arrays with this process's examples, batch axis at `axis`.
          axis: 0 for `[B, ...]`, 1 for `[draws, B, ...]`.
        """
        return self._put(batch, self.split(axis))

    def replicate(self, make: Callable[[], Any]) -> Any:
        """Return the result of `make`, replicated on every device of every process."""
        return jax.jit(make, out_shardings=self.replicated)()

    def place_whole(self, tree: Any) -> Any:
        """Replicate host arrays, equal in all processes, on every device."""
        return self._put(tree, self.replicated)

    def _put(self, tree: Any, sharding: NamedSharding) -> Any:
        if jax.process_count() == 1:  # one call for the whole tree, which takes a third of the time
            return jax.device_put(tree, sharding)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
        )

    def compile_init(self, init: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
        """Compile `init` so that its arrays are created with their final shardings."""

        def call(key: jax.Array) -> Any:
            shardings = self.shardings(jax.eval_shape(init, key))
            return jax.jit(init, out_shardings=shardings)(key)

        return call

    def compile_map(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile `function(state, *arrays)` that maps over a placed batch.

        Its results are replicated on every device, so that every process can read them.
        """
        return jax.jit(function, out_shardings=self.replicated)

    def compile_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Compile `step(phase, state, batch, key) -> (state, metrics)`; the state is donated.

        Args:
          step: written for "the batch", with leaves [draws, B, ...]; `phase` is static. Its metrics
            are means over the batch that it gets.

        Returns:
          A function of the same signature; `batch` as made by `place(..., axis=1)`, or, under jit,
          a `Resident`.
        """
        if self.mode == "pmap":
            return self._pmapped(step)
        axes = Axes(AXES if self.devices > 1 else (), self.platform, self.shards)
        split, whole = PartitionSpec(None, AXES), PartitionSpec()

        def mapped_step(phase: Any, state: Any, batch: Any, key: jax.Array) -> Any:
            specs = fsdp.specs(state, self.shards)

            def local(shards: Any, batch: Any, key: jax.Array) -> Any:
                with mapped(axes), fsdp.remembering():
                    full = fsdp.gather_params(shards, like=state)
                    new, metrics = step(phase, full, batch, key)
                    return fsdp.own_params(new), _mean(metrics)

            return jax.shard_map(
                local,
                mesh=self.mesh,
                in_specs=(specs, whole if isinstance(batch, Resident) else split, whole),
                out_specs=(specs, whole),
                check_vma=False,  # gradients stay local to each device until we reduce them
            )(state, batch, key)

        return jax.jit(mapped_step, static_argnums=0, donate_argnums=1)

    def _pmapped(self, step: Callable[..., Any]) -> Callable[..., Any]:
        axes = Axes((DATA,) if self.devices > 1 else (), self.platform)

        def local(phase: Any, state: Any, batch: Any, key: jax.Array) -> Any:
            with mapped(axes):
                state, metrics = step(phase, state, batch, key)
                return state, _mean(metrics)

        compiled = jax.pmap(
            local,
            axis_name=DATA,
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
            state, metrics = compiled(phase, state, split, key)
            return jax.device_put((state, metrics), self.replicated)

        return call


def _mean(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Average scalars over the devices in a single reduction."""
    if not metrics:
        return metrics
    values = axis_mean(jnp.stack([jnp.asarray(x, jnp.float32) for x in metrics.values()]))
    return dict(zip(metrics, values, strict=True))


def make_parallel(mode: str = "jit", devices: int = 0, shards: int = 1) -> Parallel:
    """Build the mesh for programs that are compiled from now on.

    Args:
      mode: "jit" or "pmap".
      devices: number of devices to use; 0 for all devices of all processes.
      shards: number of devices that share one copy of parameters and optimizer state.

    Raises:
      UserError: an unknown mode, more devices than there are, or a number of shards that does not
        divide the number of devices.
    """
    check_choice("train.parallel", mode, ("jit", "pmap"))
    there = jax.devices()
    if devices > len(there):
        raise UserError(f"train.devices={devices}: this machine has {len(there)}; 0 means all")
    if devices and jax.process_count() > 1:
        raise UserError(f"train.devices={devices}: several processes use all devices, leave it 0")
    chosen = there[: devices or len(there)]
    if mode == "pmap" and (shards > 1 or jax.process_count() > 1):
        what = f"train.fsdp={shards}" if shards > 1 else f"{jax.process_count()} processes"
        raise UserError(f"train.parallel=pmap does not do {what}: use train.parallel=jit")
    claim_fragments_after_compiling()
    return Parallel(mode, make_mesh(chosen, shards))


def make_mesh(devices: Sequence[Any], shards: int = 1) -> Mesh:
    """Return the mesh over real or abstract devices; UserError if `shards` does not divide them."""
    count = len(devices)
    if count % shards:
        fit = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise UserError(f"train.fsdp={shards} does not divide the {count} devices: one of {fit}")
    shape = (count // shards, shards)
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * 2)
