"""PatchGAN: published parameter count, receptive field by measurement."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models.patchgan import PatchGAN, receptive_field


def _abstract(model, source, image):
    source, image = jnp.zeros(source), jnp.zeros(image)
    return jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), source, image, train=True)
    )


def test_parameter_count_is_that_of_pytorch_basic():
    """Sum what networks.NLayerDiscriminator(6, ndf=64, n_layers=3, BatchNorm2d) builds."""
    kernel = 4 * 4
    first = kernel * 6 * 64 + 64  # with bias
    middle = kernel * (64 * 128 + 128 * 256 + 256 * 512)  # without: BatchNorm follows
    norms = 2 * (128 + 256 + 512)
    last = kernel * 512 + 1
    expected = first + middle + norms + last
    assert expected == 2_768_705  # printed as 2.769 M

    logits, variables = _abstract(PatchGAN(), (1, 256, 256, 3), (1, 256, 256, 3))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == expected
    assert logits.shape == (1, 30, 30, 1)


@pytest.mark.parametrize(("layers", "field"), [(2, 34), (3, 70)])
def test_receptive_field(layers, field):
    assert receptive_field(layers) == field
    model = PatchGAN(features=1, layers=layers)
    side = 2 * field
    source = image = np.ones((1, side, side, 1), np.float32)
    _, variables = _abstract(model, source.shape, image.shape)
    variables = jax.tree.map(lambda p: np.full(p.shape, 0.1, np.float32), variables)

    def middle(image):
        logits = model.apply(variables, source, image, train=False)
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0]

    touched = np.asarray(jax.jit(jax.grad(middle))(image))[0, :, :, 0] != 0
    assert touched.any(1).sum() == field
    assert touched.any(0).sum() == field


def test_channels_may_differ_and_sizes_need_not_be_square():
    logits, _ = _abstract(PatchGAN(features=2, layers=2), (2, 64, 40, 1), (2, 64, 40, 4))
    assert logits.shape == (2, 14, 8, 1)


def test_too_small_says_so():
    with pytest.raises(UserError, match="at least 24 px"):
        _abstract(PatchGAN(), (1, 16, 16, 3), (1, 16, 16, 3))
