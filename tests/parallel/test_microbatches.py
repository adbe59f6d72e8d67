"""Microbatches: the gradient of the full batch, with the random draws of the full batch."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.parallel import axes
from gan_jax.parallel.microbatches import sum_over_microbatches


def loss(params: dict, extra: dict, inputs: tuple) -> tuple:
    x, keys = inputs
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    outputs = jnp.tanh((x + noise) @ params["kernel"]).sum(-1)
    means = {"outputs": outputs.mean()}
    return jnp.square(outputs).mean(), ({"seen": extra["seen"] + 1}, means, outputs)


def mean_gradients(params: dict, extra: dict, inputs: tuple, microbatches: int = 1) -> tuple:
    differentiate = jax.grad(loss, has_aux=True)
    return sum_over_microbatches(
        lambda extra, part: differentiate(params, extra, part),
        *(params, extra, inputs),
        microbatches=microbatches,
    )


@pytest.mark.parametrize("unrolled", [True, False])
@pytest.mark.parametrize("microbatches", [2, 4, 8])
def test_equal_to_the_large_batch(
    microbatches: int, unrolled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(draw.normal(size=(3, 5)), jnp.float32)}
    inputs = (
        jnp.asarray(draw.normal(size=(8, 3)), jnp.float32),
        jax.random.split(jax.random.key(1), 8),
    )
    extra = {"seen": jnp.float32(0)}
    whole, (seen, metrics, outputs) = mean_gradients(params, extra, inputs)
    assert seen["seen"] == 1
    if not unrolled:  # as on an accelerator
        monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
        assert axes.current() is None
    parts, (seen, part_metrics, part_outputs) = mean_gradients(params, extra, inputs, microbatches)
    assert seen["seen"] == microbatches, "each microbatch continues from the one before"
    chex.assert_trees_all_close(parts, whole, rtol=1e-5)
    chex.assert_trees_all_close(part_metrics, metrics, rtol=1e-5)
    chex.assert_trees_all_close(part_outputs, outputs, rtol=1e-5)  # in the order of the inputs
