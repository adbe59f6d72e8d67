"""The training step: what is the same for all methods around what a task computes."""

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
    """Wrap a task's train step with what is the same for all: its key, `step` and `position`.

    Args:
      task: of the run.
      batch_size: images a draw, over all devices.
      prepare: see `augment.real`; None leaves images as they are stored.

    The function returned takes as many steps as its batch, [steps * draws, B, ...], holds, and
    returns the metrics of the last. Images of the batch are uint8 as stored, or float32 in [-1, 1].
    """

    def step(
        phase: Phase, state: TrainState, batch: Batch | Resident, key: Key
    ) -> tuple[TrainState, Metrics]:
        if isinstance(batch, Resident):
            batch = batch.gather(state.position, batch_size)

        def one(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
            if prepare is not None:
                batch = prepare(batch, key, state.position)
            # `state` has the old step until here, whatever the task reads it for.
            new, metrics = task.train_step(phase, state, batch, jax.random.fold_in(key, state.step))
            drawn = np.uint32(phase.draws * batch_size)
            return new.replace(step=state.step + 1, position=state.position + drawn), metrics

        batches = jax.tree.map(lambda x: x.reshape(-1, phase.draws, *x.shape[1:]), as_floats(batch))
        state, metrics = loop(one, state, batches)
        return state, metrics[-1]

    return step


def training_step(task: Task, config: ConfigDict, batch_size: int = 0) -> Any:
    """Return the step of a run, as `make_step`, with what the config does to stored images.

    Args:
      task: of the run.
      config: of the run; read are `data` and `train.batch_size`.
      batch_size: images a draw, where they are not `train.batch_size`.
    """
    prepare = make_prepare(flip=config.data.flip, dequantize=config.data.dequantize)
    return make_step(task, batch_size or config.train.batch_size, prepare)
