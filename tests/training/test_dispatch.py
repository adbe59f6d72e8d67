"""FLOPs of a step: closed form against XLA's count of the program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.flops import dcgan_step, taps
from benchmarks.problems import PROBLEMS
from gan_jax.core.keys import named_keys
from gan_jax.methods.registry import make_task
from gan_jax.ops import convolution
from gan_jax.parallel.mesh import make_parallel
from gan_jax.rundir.checkpoint import abstract_state
from gan_jax.training.dispatch import product_flops
from gan_jax.training.feed import abstract_batch
from gan_jax.training.step import make_step


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
    """XLA counts activations, BatchNorm and Adam too, which are small compared with wide layers.

    It is shown its own convolutions: the forms for CPU multiply by padding as well.
    """
    monkeypatch.setattr(
        convolution, "_by_platform", lambda cpu, default, geometry, a, b: default(geometry, a, b)
    )
    problem = PROBLEMS["DCGAN-64"].changed(
        (32, 64, 3),
        model__gen__width=64,
        model__disc__width=32,
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


def test_products_of_a_program_are_counted() -> None:
    a, x, kernel = jnp.zeros((3, 4)), jnp.zeros((2, 8, 8, 5)), jnp.zeros((3, 3, 5, 7))
    count = lambda f, *args: product_flops(jax.make_jaxpr(f)(*args))  # noqa: E731
    assert count(lambda a: a @ a.T, a) == 2 * 3 * 3 * 4
    assert count(lambda a: jax.lax.scan(lambda c, _: (c @ a.T @ a, None), a, None, 6), a) == (
        6 * 2 * (3 * 3 * 4 + 3 * 4 * 3)
    )
    assert count(lambda a: jax.lax.cond(a[0, 0] > 0, lambda a: a @ a.T, lambda a: a[:, :3], a), a)
    one = 2 * 2 * 8 * 8 * 9 * 5 * 7
    assert count(lambda x, k: convolution.conv2d(x, k, padding="SAME"), x, kernel) == one
    loss = lambda x, k: convolution.conv2d(x, k, padding="SAME").sum()  # noqa: E731
    # Each of its three products has the same multiplications.
    assert count(jax.grad(loss, (0, 1)), x, kernel) == pytest.approx(3 * one, rel=0.3)


def test_a_step_of_dcgan_is_counted_without_a_compiler() -> None:
    """Equal to the closed form, plus a quarter for padded pixels."""
    problem = PROBLEMS["DCGAN-64"]
    config, spec = problem.config(), problem.spec()
    task, parallel = make_task(config, spec), make_parallel("jit", 1)
    step = parallel.compile_step(make_step(task, config.train.batch_size))
    batch = abstract_batch(spec, task.phase(0), parallel, config.train.batch_size)
    key = named_keys(0)["train"]
    traced = step.trace(task.phase(0), abstract_state(task, parallel), batch, key)
    assert product_flops(traced.jaxpr) == pytest.approx(1.26 * dcgan_step(problem), rel=0.01)
