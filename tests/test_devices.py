"""One step, any machine: every family learns the same on one device, on eight, and under pmap."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest
from conftest import FAMILIES, smoke_config
from ml_collections import ConfigDict

from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.keys import named_keys
from gan_jax.parallel import make_parallel
from gan_jax.state import TrainState
from gan_jax.task import make_task
from gan_jax.train import make_step


def sgd(config: ConfigDict) -> ConfigDict:
    """Return the config with plain SGD: Adam's first steps would turn rounding into signs."""
    for section in config.optim.values():
        section.update(dict(name="sgd", b1=0.0, lr=0.01))
    return config


def three_steps(config: ConfigDict, mode: str, devices: int) -> TrainState:
    parallel = make_parallel(mode, devices)
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    keys = named_keys(config.seed)
    state = parallel.compile_init(task.init)(keys["init"])
    step = parallel.compile_step(make_step(task, config.train.batch_size))
    source = batches(
        dataset.splits["train"],
        seed=0,
        position=0,
        batch_size=config.train.batch_size,
        draws=(task.phase(i).draws for i in range(3)),
    )
    for i, batch in enumerate(source):
        state, metrics = step(task.phase(i), state, parallel.place(batch, axis=1), keys["train"])
        chex.assert_tree_all_finite(metrics)
    return jax.device_get(state)


# Everything that draws is on: latents, posterior noise, dropout, augmentation, critic updates.
DRAWING = {
    "dcgan": dict(model__conditional="projection", task__disc_updates=2, train__ema_decay=0.9),
    "vae": dict(),
    "classifier": dict(),
    "pix2pix": dict(),
    "sngan": dict(model__conditional="projection", train__ema_decay=0.9),
    "wgan_gp": dict(),
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("sngan", "wgan_gp")]


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_devices_agree(name: str) -> None:
    config = sgd(smoke_config(name, train__batch_size=16, **DRAWING[name]))
    expected = three_steps(config, "jit", 1)
    draws = config.task.get("disc_updates", 1)
    assert expected.step == 3 and expected.position == 3 * 16 * draws
    moved = jax.tree.leaves(
        jax.tree.map(lambda a: float(np.abs(a).max()), [n.extra for n in expected.nets.values()])
    )
    assert name == "vae" or max(moved) > 0, "no batch statistics to compare"
    for mode in ("jit", "pmap"):
        got = three_steps(config, mode, 8)
        chex.assert_trees_all_close(got, expected, atol=1e-5, rtol=1e-5)
