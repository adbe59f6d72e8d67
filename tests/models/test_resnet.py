"""ResNet-18: published parameter count, sizes, stems."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models.resnet import ResNet18


def _abstract(model, shape):
    x = jnp.zeros(shape)
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, train=False))


def test_parameter_count_is_torchvisions():
    (outputs, features), variables = _abstract(ResNet18(outputs=1000), (1, 224, 224, 3))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 11_689_512
    assert outputs.shape == (1, 1000)
    assert features.shape == (1, 512)


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 7), ("small", 28)])
def test_strides(stem, side):
    """The last stage sees 1/32 of the image, or 1/8."""
    model = ResNet18(outputs=2, width=4, stem=stem)
    x = jnp.zeros((1, 224, 224, 3))
    _, seen = jax.eval_shape(
        lambda: model.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
        )
    )
    assert seen["intermediates"]["conv3_1_b"]["__call__"][0].shape == (1, side, side, 32)


def test_small_images_run_and_train():
    model = ResNet18(outputs=3, width=2, stem="small")
    x = np.random.default_rng(0).normal(size=(3, 8, 12, 1)).astype(np.float32)
    variables = jax.tree.map(lambda v: np.ones(v.shape, np.float32), _abstract(model, x.shape)[1])
    (outputs, features), moved = jax.jit(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])
    )(variables, x)
    assert outputs.shape == (3, 3)
    assert features.shape == (3, 16)
    assert np.isfinite(outputs).all()
    assert jax.tree.structure(moved["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


def test_unknown_stem():
    with pytest.raises(UserError, match="did you mean 'small'"):
        _abstract(ResNet18(outputs=3, stem="smal"), (1, 32, 32, 3))
