"""Standing statistics: re-estimated BatchNorm statistics for sampling.

arXiv:1809.11096, appendix A. A generator is trained with batch statistics and used with a running
average of them, which lags behind the weights and does not match their moving average. Here the
sampling weights are run in training mode over many batches, and each layer gets the average of the
batch means and variances, as in BigGAN's program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import Option
from gan_jax.core.state import MUTABLE, TrainState
from gan_jax.core.task import Task
from gan_jax.parallel.mesh import Parallel

STANDING = Option(
    0, "batches that the generator's BatchNorm statistics are estimated on; 0: as trained", low=0
)
_STREAM = 2**32 - 1  # folded into the seed's key; no image has this number


def batch_statistics(module: nn.Module, variables: Mapping[str, Any], *inputs: Any) -> Any:
    """Return the "batch_stats" of a network from one batch only, in training mode.

    A layer stores k * old + (1 - k) * new. Its output in training mode does not depend on old, so
    the stored value at old = 0 and its derivative with respect to old, k, give new for any k.

    Args:
      module: called with `train=True`.
      variables: its collections.
      *inputs: arguments of its `__call__`: the batch.
    """

    def moved(old: Any) -> Any:
        given = {**variables, "batch_stats": old}
        return module.apply(given, *inputs, train=True, mutable=MUTABLE)[1]["batch_stats"]

    like = variables["batch_stats"]
    zeros, ones = jax.tree.map(jnp.zeros_like, like), jax.tree.map(jnp.ones_like, like)
    value, kept = jax.jvp(moved, (zeros,), (ones,))
    return jax.tree.map(lambda v, k: v / (1 - k), value, kept)


def with_standing(
    task: Task,
    state: TrainState,
    *,
    parallel: Parallel,
    seed: int,
    batch_size: int,
    labels: Callable[[np.ndarray], np.ndarray] | None,
    options: Mapping[str, Any],
) -> TrainState:
    """Return the state with standing statistics in place of the running ones.

    Args:
      task: a method with `statistics`.
      state: the trained state.
      parallel: the devices; the result does not depend on their number.
      seed: seed of the latents, which differ from those of images with the same seed.
      batch_size: images per batch; the statistics depend on it, so use that of the training.
      labels: indices of images in the request -> int32 classes; None draws them with the latents.
      options: options of the task; "standing" is the number of batches, 0 returns `state`.
    """
    batches = options.get("standing", 0)
    if not batches:
        return state

    def one(state: TrainState, place: jax.Array, labels: jax.Array | None) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), _STREAM)
        latents = task.latents(fold_in_each(key, place), labels, **options)
        return task.statistics(state, latents, **options)

    whole = parallel.round_up(batch_size) == batch_size
    put = parallel.place if whole and jax.process_count() == 1 else parallel.place_whole
    compiled, total = parallel.compile_map(one), None
    for start in range(0, batches * batch_size, batch_size):
        place = np.arange(start, start + batch_size, dtype=np.int32)
        found = compiled(state, put(place), None if labels is None else put(labels(place)))
        found = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(found))
        total = found if total is None else jax.tree.map(np.add, total, found)
    nets = dict(state.nets)
    for name, sums in total.items():
        mean = jax.tree.map(lambda x: (x / batches).astype(np.float32), sums)
        mean = parallel.place_whole(mean)
        net = nets[name].replace(extra={**nets[name].extra, "batch_stats": mean})
        nets[name] = net if net.ema is None else net.replace(ema={**net.ema, "batch_stats": mean})
    return state.replace(nets=nets)


def require_statistics(what: str, variables: Mapping[str, Any]) -> None:
    """Raise UserError if a network has no BatchNorm whose statistics could be estimated."""
    if "batch_stats" not in variables:
        raise UserError(f"option standing: {what} has no BatchNorm, leave the option out")
