"""Standing statistics: BatchNorm's estimated anew for sampling (arXiv:1809.11096, appendix A).

A generator is trained on the statistics of each batch and used with a running average of them,
which lags behind its weights and fits no moving average of theirs. Here the weights that sample are
run in training mode over many batches, and each layer gets the mean of the means and of the
variances that it saw, as in BigGAN's program.
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
_STREAM = 2**32 - 1  # folded into the seed's key, where no image has its number


def batch_statistics(module: nn.Module, variables: Mapping[str, Any], *inputs: Any) -> Any:
    """Return what a network's "batch_stats" would be of one batch alone, in training mode.

    A layer keeps k * old + (1 - k) * new. Its pass in training does not read the old ones, so that
    the value at old = 0 and the derivative by it, k, give the new ones whatever k is.

    Args:
      module: called with `train=True`.
      variables: its collections.
      *inputs: of its `__call__`: the batch.
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
      state: as trained.
      parallel: the devices; the result does not depend on their number.
      seed: of the latents, which are others than those of the images of the same seed.
      batch_size: images a batch: the statistics depend on it, so it is that of the training.
      labels: places in the request -> int32 classes; None leaves them to the latents.
      options: of the task, "standing" among them: the number of batches; 0 changes nothing.
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
