"""A split kept on the devices: a step takes it in place of a batch, and gathers its own batches.

The examples of a batch follow from (seed, position), and the position is in the state.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from gan_jax.parallel.axes import axis_index, axis_size


@flax.struct.dataclass
class Resident:
    """The input of a step in place of a batch; replicated on every device.

    Attributes:
      arrays: {stream: [N, ...]} of each domain, images as stored: uint8.
      rows: int32 [S] of each domain: the rows of its arrays that hold the examples at positions
        `start`, `start` + 1, ...
      start: uint32 scalar, the position of the first row.
      draws: number of batches to gather.
    """

    arrays: tuple[dict[str, jax.Array], ...]
    rows: tuple[jax.Array, ...]
    start: jax.Array
    draws: int = flax.struct.field(pytree_node=False)

    def gather(self, position: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """Return this device's slices of the batches at `position`: [draws, B / devices, ...].

        Args:
          position: uint32, examples drawn before.
          batch_size: examples per draw, over all devices.
        """
        local = batch_size // axis_size()
        within = axis_index() * local + jnp.arange(local)
        places = jnp.arange(self.draws)[:, None] * batch_size + within
        # A uint32 difference is correct even if the position wraps around.
        places += (position - self.start).astype(jnp.int32)
        return {
            name: array[rows[places]]
            for arrays, rows in zip(self.arrays, self.rows, strict=True)
            for name, array in arrays.items()
        }
