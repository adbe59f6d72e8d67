"""One step, any machine: each family trains equally on one device, on eight, and under pmap."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest
from conftest import FAMILIES, smoke_config
from learning import DRAWING, first_steps, rate, sgd

SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in (
        *("sngan", "wgan_gp", "lapgan", "cyclegan", "iwae", "vae_gan"),
        *("edsr", "inpaint", "colorize", "srgan"),
    )
]
# How pmap runs a step does not depend on the step.
BY_MARKER = [pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES if n != "dcgan"] + SLOW


@pytest.mark.parametrize("name", [*FAMILIES, "dncnn", *SLOW])
def test_devices_agree(name: str) -> None:
    modes_agree(name, "jit")


@pytest.mark.parametrize("name", ["dcgan", *BY_MARKER])
def test_pmap_agrees(name: str) -> None:
    modes_agree(name, "pmap")


def modes_agree(name: str, mode: str) -> None:
    config = sgd(smoke_config(name, train__batch_size=16, **DRAWING[name]), rate(name))
    expected = first_steps(config, "jit", 1)
    draws = config.task.get("disc_updates", 1)
    assert expected.step == 3 and expected.position == 3 * 16 * draws
    moved = jax.tree.leaves(
        jax.tree.map(lambda a: float(np.abs(a).max()), [n.extra for n in expected.nets.values()])
    )
    still = ("vae", "iwae", "lapgan", "cyclegan", "edsr")
    assert name in still or max(moved) > 0, "no batch statistics to compare"
    got = first_steps(config, mode, 8)
    chex.assert_trees_all_close(got, expected, atol=1e-5, rtol=1e-5)
