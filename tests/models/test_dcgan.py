"""DCGAN's and the tutorial's networks: sizes, parameter counts, classes, refusals."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.state import count_parameters
from gan_jax.models import dcgan, tutorial


def shapes(module: nn.Module, *inputs: tuple[int, ...], labels: bool = False) -> tuple:
    """Return (output shape, parameter count) without computing anything."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    if labels:
        arguments.append(jax.ShapeDtypeStruct(inputs[0][:1], jnp.int32))
    output, variables = jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, train=False), *arguments
    )
    return output.shape, count_parameters(variables["params"])


@pytest.mark.parametrize(
    "shape", [(16, 16, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (128, 128, 4), (48, 32, 3)]
)
def test_dcgan_makes_and_judges_every_size(shape: tuple[int, int, int]) -> None:
    made, _ = shapes(dcgan.Generator(shape, width=4), (2, 8))
    assert made == (2, *shape)
    judged, _ = shapes(dcgan.Discriminator(width=4), (2, *shape))
    assert judged == (2,)


def test_dcgan_has_as_many_parameters_as_the_published_code() -> None:
    """PyTorch's DCGAN example at 64 px has 3,576,704 and 2,765,568, and no bias anywhere."""
    assert shapes(dcgan.Generator((64, 64, 3)), (1, 100))[1] == 3_576_704 + 3
    assert shapes(dcgan.Discriminator(), (1, 64, 64, 3))[1] == 2_765_568 + 64 + 1


def test_conditional_networks_see_the_class() -> None:
    key = jax.random.key(0)
    generator = dcgan.Generator((16, 16, 1), width=2, num_classes=3)
    discriminator = dcgan.Discriminator(width=2, num_classes=3)
    z = jnp.ones((3, 4))
    labels = jnp.arange(3)
    images, _ = generator.init_with_output(key, z, labels, train=False)
    assert abs(images[0] - images[1]).max() > 0
    logits, _ = discriminator.init_with_output(key, jnp.ones((3, 16, 16, 1)), labels, train=False)
    assert len(set(map(float, logits))) == 3


def test_the_tutorials_networks() -> None:
    made, count = shapes(tutorial.Generator((64, 64, 3)), (1, 100))
    assert made == (1, 64, 64, 3)
    dense = 101 * 4 * 4 * 512
    widths = (512, 256, 128, 64, 32)
    ups = sum(16 * a * b + 3 * b for a, b in itertools.pairwise(widths))
    assert count == dense + ups + 9 * 32 * 3 + 3
    judged, count = shapes(tutorial.Discriminator(), (1, 64, 64, 3))
    assert judged == (1,)
    widths = (3, 64, 128, 256)
    downs = sum(9 * a * b + 3 * b for a, b in itertools.pairwise(widths))
    assert count == downs + 8 * 8 * 256 + 1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (30, 32), (32, 18), (4, 64)])
def test_sizes_that_do_not_fit_are_refused(height: int, width: int) -> None:
    with pytest.raises(UserError, match=f"{height}x{width}"):
        dcgan.stages(height, width)
    with pytest.raises(UserError, match=f"{height}x{width}"):
        tutorial.doublings(height, width)
