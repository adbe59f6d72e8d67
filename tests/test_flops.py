"""The closed form of a step's operations against XLA's count of the program."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from benchmarks.flops import dcgan_step, taps
from benchmarks.problems import PROBLEMS
from gan_jax.models import convolution
from gan_jax.task import make_task
from gan_jax.train import make_step


@pytest.mark.parametrize(("kernel", "stride", "pad", "size"), [(4, 2, 1, 8), (3, 1, 1, 7)])
def test_taps_are_the_pixels_that_a_convolution_sees(
    kernel: int, stride: int, pad: int, size: int
) -> None:
    ones = np.ones((1, size, 1, 1), np.float32)
    seen = convolution.conv2d(
        ones,
        np.ones((kernel, 1, 1, 1), np.float32),
        strides=(stride, 1),
        padding=((pad, pad), (0, 0)),
    )
    assert taps(size, kernel=kernel, stride=stride, pad=pad) == seen.sum()


@pytest.mark.parametrize("updates", [1, 2])
def test_a_step_of_dcgan_has_the_operations_that_xla_counts(
    monkeypatch: pytest.MonkeyPatch, updates: int
) -> None:
    """XLA counts activations, BatchNorm and Adam too, which are small beside wide layers.

    It is shown its own convolutions: the forms for CPU multiply by padding as well.
    """
    monkeypatch.setattr(
        convolution, "_by_platform", lambda cpu, default, geometry, a, b: default(geometry, a, b)
    )
    problem = PROBLEMS["DCGAN-64"].changed(
        (32, 64, 3),
        model__width=64,
        model__disc_width=32,
        task__disc_updates=updates,
        train__batch_size=16,
    )
    task = make_task(problem.config(), problem.spec())
    step = make_step(task, 16)
    state = jax.eval_shape(task.init, jax.random.key(0))
    lowered = jax.jit(step, static_argnums=0).lower(
        task.phase(0), state, problem.batch(), jax.random.key(0)
    )
    counted = lowered.cost_analysis()["flops"]
    np.testing.assert_allclose(dcgan_step(problem), counted, rtol=0.03)
    assert dcgan_step(problem) < counted
