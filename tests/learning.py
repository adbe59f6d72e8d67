"""Build a task on the smoke form of its config, and train it a little."""

from __future__ import annotations

from typing import Any

import jax
from conftest import smoke_config

from gan_jax.data import Dataset, open_data
from gan_jax.data.pipeline import batches
from gan_jax.task import Phase, Task, make_task
from gan_jax.train import make_step


def build(name: str, **changes: Any) -> tuple[Task, Any, Dataset]:
    """Return the task of a config with fields changed as by `smoke_config`, its state and data."""
    config = smoke_config(name, **changes)
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    return task, jax.jit(task.init)(jax.random.key(0)), dataset


def learn(task: Task, state: Any, dataset: Dataset, steps: int) -> tuple[Any, list[dict]]:
    """Return the state after `steps` steps of 16 images, and the metrics of each."""
    step = jax.jit(make_step(task, 16), static_argnums=0)
    found = []
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=16, draws=[1] * steps)
    for batch in source:
        state, metrics = step(Phase(), state, batch, jax.random.key(1))
        found.append({k: float(v) for k, v in metrics.items()})
    return state, found
