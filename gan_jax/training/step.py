"""The training step: a task's own step with the bookkeeping shared by all methods."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan_jax.augment.real import Prepare, make_prepare
from gan_jax.core.state import TrainState
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.data.dataset import as_floats
from gan_jax.parallel.axes import loop
from gan_jax.parallel.resident import Resident


def make_step(task: Task, batch_size: int, prepare: Prepare | None = None) -> Any:
    """Wrap a task's train step: derive its key, advance `step` and `position`.

    Args:
      task: the method.
      batch_size: images per draw, over all devices.
      prepare: see `augment.real`; None leaves images as they are stored.

    Returns:
      (phase, state, batch, key) -> (state, metrics). It takes as many steps as the batch,
      [steps * draws, B, ...], provides, and returns the metrics of the last one. Images of the
      batch are uint8 as stored, or float32 in [-1, 1].
    """

    def step(
        phase: Phase, state: TrainState, batch: Batch | Resident, key: Key
    ) -> tuple[TrainState, Metrics]:
        if isinstance(batch, Resident):
            batch = batch.gather(state.position, batch_size)

        def one(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
            if prepare is not None:
                batch = prepare(batch, key, state.position)
            # The task sees the step and position from before the update.
            new, metrics = task.train_step(phase, state, batch, jax.random.fold_in(key, state.step))
            drawn = np.uint32(phase.draws * batch_size)
            return new.replace(step=state.step + 1, position=state.position + drawn), metrics

        batches = jax.tree.map(lambda x: x.reshape(-1, phase.draws, *x.shape[1:]), as_floats(batch))
        state, metrics = loop(one, state, batches)
        return state, metrics[-1]

    return step


def training_step(task: Task, config: ConfigDict, batch_size: int = 0) -> Any:
    """Return the training step of a run: `make_step` with the config's image preparation.

    Args:
      task: the method.
      config: the run's config; `data` and `train.batch_size` are used.
      batch_size: images per draw; 0 for `train.batch_size`.
    """
    prepare = make_prepare(flip=config.data.flip, dequantize=config.data.dequantize)
    return make_step(task, batch_size or config.train.batch_size, prepare)
