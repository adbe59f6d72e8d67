"""ProGAN: parameter counts, growth stage by stage, equalised layers, batch statistics."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.core.state import count_parameters
from gan_jax.models.blocks.equalized import EqualizedConv, EqualizedDense
from gan_jax.models.blocks.layers import avg_pool
from gan_jax.models.progan import (
    Discriminator,
    Generator,
    channels,
    minibatch_stddev,
    pixel_norm,
    stages,
)
from gan_jax.ops.convolution import conv2d

SHAPE = (16, 16, 1)
Z = jax.random.normal(jax.random.key(0), (4, 6))


def test_as_many_parameters_as_the_reference() -> None:
    """The authors' networks for 1024 px (github.com/tkarras/progressive_growing_of_gans).

    The sums over the layers of its networks.py; the paper's table 2 has 23.1 M for each.
    """
    shape = (1024, 1024, 3)
    for module, x, expected in (
        (Generator(shape), (1, 512), 23_079_115),
        (Discriminator(shape), (1, *shape), 23_087_249),
    ):
        variables = jax.eval_shape(
            lambda x, m=module: m.init(jax.random.key(0), x, train=False),
            jax.ShapeDtypeStruct(x, jnp.float32),
        )
        assert count_parameters(variables["params"]) == expected
    assert [channels(i, 512) for i in range(9)] == [512, 512, 512, 512, 256, 128, 64, 32, 16]


@pytest.fixture(scope="module")
def nets() -> dict:
    generator, discriminator = Generator(SHAPE, 16), Discriminator(SHAPE, 16)
    gen = generator.init(jax.random.key(1), Z, train=False)
    disc = discriminator.init(jax.random.key(2), jnp.zeros((1, *SHAPE)), train=False)
    return dict(gen=(generator, gen), disc=(discriminator, disc))


def test_growth_is_continuous(nets: dict) -> None:
    """A stage that is not blended in at all makes, and judges, what the one before did."""
    generator, gen = nets["gen"]
    discriminator, disc = nets["disc"]
    make = lambda **k: generator.apply(gen, Z, train=True, **k)  # noqa: E731
    judge = lambda x, **k: discriminator.apply(disc, x, train=True, **k)  # noqa: E731
    for stage in (1, 2):
        small, grown = make(stage=stage - 1), make(stage=stage, fade=0.0)
        side = 4 << stage
        assert small.shape == (4, side // 2, side // 2, 1)
        np.testing.assert_allclose(grown, small.repeat(2, 1).repeat(2, 2), atol=1e-6)
        images = jax.random.normal(jax.random.key(3), (4, side, side, 1))
        before = judge(avg_pool(images), stage=stage - 1)
        np.testing.assert_allclose(judge(images, stage=stage, fade=0.0), before, rtol=1e-5)
        full = make(stage=stage)
        half = make(stage=stage, fade=0.5)
        np.testing.assert_allclose(half, (full + grown) / 2, rtol=1e-4, atol=1e-5)
        assert abs(judge(images, stage=stage) - before).max() > 1e-5
    np.testing.assert_allclose(make(), make(stage=2, fade=1.0), atol=1e-6)


def test_a_stage_trains_its_own_parameters_only(nets: dict) -> None:
    generator, gen = nets["gen"]
    gradient = jax.grad(
        lambda p: jnp.square(generator.apply({"params": p}, Z, train=True, stage=1, fade=0.5)).sum()
    )(gen["params"])
    moved = {name for name, layer in gradient.items() if max(map(_size, jax.tree.leaves(layer)))}
    assert not [name for name in moved if name.startswith("stage2")]
    assert {"dense", "stage0_image", "stage1_image", "stage1_conv_a"} <= moved
    chex.assert_trees_all_equal_structs(gradient, gen["params"])


def _size(x: jax.Array) -> float:
    return float(abs(x).max())


@pytest.mark.parametrize(
    ("shape", "count"), [((4, 4), 1), ((28, 28), 3), ((48, 32), 4), ((256, 256), 7), ((80, 64), 5)]
)
def test_stages(shape: tuple[int, int], count: int) -> None:
    assert stages(*shape) == count


@pytest.mark.parametrize("shape", [(3, 3), (18, 18), (44, 32), (100, 100)])
def test_sizes_that_do_not_grow_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="4 to 7 px"):
        stages(*shape)


def test_equalised_layers_scale_weights_when_used() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    layer = EqualizedConv(64)
    variables = layer.init(jax.random.key(1), x)
    kernel = variables["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx(1, abs=0.05)
    expected = conv2d(x, kernel * np.sqrt(2 / (9 * 3)), padding="SAME")
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-6)
    dense = EqualizedDense(8, gain=1.0)
    variables = dense.init(jax.random.key(1), x)
    expected = x @ (variables["params"]["kernel"] / np.sqrt(3))
    np.testing.assert_allclose(dense.apply(variables, x), expected, rtol=1e-5, atol=1e-6)


def test_pixel_norm_has_root_mean_square_one() -> None:
    x = 7 * jax.random.normal(jax.random.key(0), (2, 3, 3, 5))
    np.testing.assert_allclose(jnp.square(pixel_norm(x)).mean(-1), 1, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: pixel_norm(x).sum())(jnp.zeros((1, 1, 1, 3)))).all()


def test_minibatch_stddev_by_hand() -> None:
    x = np.random.default_rng(0).normal(size=(8, 2, 3, 5))
    made = np.asarray(minibatch_stddev(jnp.asarray(x, jnp.float32)))
    assert made.shape == (8, 2, 3, 6)
    for group in (slice(0, 4), slice(4, 8)):
        np.testing.assert_allclose(made[group, ..., 5], x[group].std(0).mean(), rtol=1e-5)
    alone = minibatch_stddev(jnp.ones((1, 2, 2, 1)))[..., 1]
    np.testing.assert_allclose(alone, 1e-4, rtol=1e-5)
    with pytest.raises(UserError, match="groups of 4"):
        minibatch_stddev(jnp.ones((6, 2, 2, 1)))
