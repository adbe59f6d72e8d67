"""CNN: shapes of any size, float32 outputs, dropout by example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models.cnn import CNN
from gan_jax.parallel.axes import example_keys


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 47, 3), (8, 200, 4), (128, 128, 3)])
def test_any_size_and_channels(shape):
    model = CNN(outputs=7, width=4)
    x = jnp.zeros((2, *shape))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    outputs, features = jax.eval_shape(lambda v: model.apply(v, x, train=False), variables)
    assert outputs.shape == (2, 7)
    assert features.shape == (2, 16)


def test_too_small_says_so():
    with pytest.raises(UserError, match="8x8"):
        CNN(outputs=2).init(jax.random.key(0), jnp.zeros((1, 7, 9, 1)), train=False)


def _variables(model, shape):
    x = jnp.zeros((1, *shape))
    abstract = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: rng.normal(1, 0.2, p.shape).astype(np.float32), abstract)


def test_statistics_move_in_training():
    model = CNN(outputs=3, width=4)
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 1)).astype(np.float32)
    variables = _variables(model, (8, 8, 1))
    _, moved = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, x
    )
    same = jax.tree.map(np.array_equal, moved["batch_stats"], variables["batch_stats"])
    assert not any(jax.tree.leaves(same))


def test_dropout_is_by_example_and_needs_keys():
    model = CNN(outputs=5, width=4, dropout_rate=0.5)
    # Two images over and over: BatchNorm then has the same statistics in any even batch. By one
    # image their variance would be 0, and rounding raised 300 times.
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 1)).astype(np.float32)
    variables = _variables(model, (8, 8, 1))
    keys = example_keys(jax.random.key(2), 6)

    @jax.jit
    def run(keys):
        x = jnp.tile(images, (len(keys) // 2, 1, 1, 1))
        (outputs, _), _ = model.apply(variables, x, train=True, keys=keys, mutable=["batch_stats"])
        return outputs

    whole = run(keys)
    np.testing.assert_allclose(run(keys[2:]), whole[2:], atol=1e-4)
    assert np.abs(whole[0] - whole[2]).max() > 1e-2
    jax.eval_shape(lambda: model.apply(variables, images, train=False))
    with pytest.raises(ValueError, match="keys"):
        jax.eval_shape(lambda: model.apply(variables, images, train=True, mutable=["batch_stats"]))
