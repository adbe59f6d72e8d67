"""Build a task on the smoke form of its config, and train it a little."""

from __future__ import annotations

from typing import Any

import chex
import jax
from conftest import smoke_config
from ml_collections import ConfigDict

from gan_jax.core.choices import rename
from gan_jax.core.keys import named_keys
from gan_jax.core.state import TrainState
from gan_jax.core.task import Phase, Task
from gan_jax.data import Dataset, open_data
from gan_jax.data.pipeline import batches
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import make_parallel
from gan_jax.training.optimizers import OPTIMIZERS
from gan_jax.training.step import make_step, training_step


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


# Everything that draws is on: latents, posterior noise, dropout, augmentation, critic updates.
DRAWING = {
    "dcgan": dict(model__conditional="projection", task__disc_updates=2, train__ema_decay=0.9),
    "vae": dict(),
    "classifier": dict(),
    "pix2pix": dict(),
    "sngan": dict(model__conditional="projection", train__ema_decay=0.9),
    "wgan_gp": dict(),
    "lapgan": dict(model__conditional="concat", train__ema_decay=0.9),
    # The second stage begins at step 1.
    "progan": dict(task__growth__stage_images=16, task__growth__fade_images=16),
    "unet": dict(),
    "iwae": dict(),
    "vae_gan": dict(),
    "cyclegan": dict(train__ema_decay=0.9),
    "edsr": dict(),
    "dncnn": dict(),
    "inpaint": dict(),
    "colorize": dict(task__output="classes"),
    "srgan": dict(),
    "sagan": dict(model__conditional="projection"),
    "biggan": dict(model__conditional="projection"),
    "contragan": dict(),
    "ada_gan": dict(),
    "semi_supervised_gan": dict(),
}


def rate(name: str) -> float:
    """Return the learning rate at which a config's steps are compared between devices."""
    # Weights of 10 and instance norm of 4 px make rounding grow: 1e-6 after a step of 0.01, and
    # 4e-5 after three.
    return 0.001 if name == "cyclegan" else 0.01


def sgd(config: ConfigDict, lr: float = 0.01, *names: str) -> ConfigDict:
    """Return the config with plain SGD: Adam's first steps would turn rounding into signs.

    Args:
      config: is changed.
      lr: the learning rate.
      *names: of the networks; none for all.
    """
    for name in names or config.optim:
        rename(config, f"optim.{name}", OPTIMIZERS, "sgd")
        config.optim[name].lr = lr
    return config


def first_steps(config: ConfigDict, mode: str, devices: int, steps: int = 3) -> TrainState:
    """Return the state after so many steps as main.py would take them, on so many devices."""
    parallel = make_parallel(mode, devices, config.train.fsdp)
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    keys = named_keys(config.seed)
    state = parallel.compile_init(task.init)(keys["init"])
    step = parallel.compile_step(training_step(task, config))
    source = batches(
        dataset.splits["train"],
        seed=0,
        position=0,
        batch_size=config.train.batch_size,
        draws=(task.phase(i).draws for i in range(steps)),
    )
    for i, batch in enumerate(source):
        state, metrics = step(task.phase(i), state, parallel.place(batch, axis=1), keys["train"])
        chex.assert_tree_all_finite(metrics)
    return jax.device_get(state)
