"""Microbatches: the gradient of the large batch, with everything drawn as for the large batch."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.parallel import axes
from gan_jax.parallel.microbatches import mean_gradients


def loss(params: dict, extra: dict, inputs: tuple) -> tuple:
    x, keys = inputs
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    outputs = jnp.tanh((x + noise) @ params["kernel"]).sum(-1)
    return jnp.square(outputs).mean(), ({"seen": extra["seen"] + 1}, {"outputs": outputs.mean()})


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
    whole, seen, metrics = mean_gradients(loss, params, extra, inputs)
    assert seen["seen"] == 1
    if not unrolled:  # as on an accelerator
        monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
        assert axes.current() is None
    parts, seen, part_metrics = mean_gradients(
        loss, params, extra, inputs, microbatches=microbatches
    )
    assert seen["seen"] == microbatches, "each microbatch continues from the one before"
    chex.assert_trees_all_close(parts, whole, rtol=1e-5)
    chex.assert_trees_all_close(part_metrics, metrics, rtol=1e-5)
