"""The Laplacian pyramid, and the shapes of LAPGAN's networks."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models import lapgan
from gan_jax.models.blocks.heads import Head


@pytest.mark.parametrize(("height", "width", "levels"), [(2, 5, 2), (3, 2, 3), (4, 4, 2)])
def test_the_pyramid_loses_nothing(height: int, width: int, levels: int) -> None:
    """Enlarging and adding what each level lacks gives the image back to float32 rounding."""
    shape = (2, height << (levels - 1), width << (levels - 1), 3)
    images = np.random.default_rng(levels).uniform(-1, 1, shape).astype(np.float32)
    found = lapgan.pyramid(jnp.asarray(images), levels)
    lacking = [fine - lapgan.enlarge(low) for low, fine in itertools.pairwise(found)]
    made = found[0]
    for part in lacking:
        made = lapgan.enlarge(made) + part
    np.testing.assert_allclose(made, images, atol=1e-6)
    assert found[0].shape == (2, height, width, 3) and len(found) == levels


def test_weights_of_both_directions() -> None:
    """[1, 3, 3, 1] / 8 to halve, (3 near + 1 far) / 4 to double; a flat image stays flat."""
    row = jnp.arange(8.0) ** 2
    images = jnp.broadcast_to(row[None, None, :, None], (1, 8, 8, 1))
    halved = lapgan.shrink(images)[0, 0, :, 0]
    inner = [(row[i - 1] + 3 * row[i] + 3 * row[i + 1] + row[i + 2]) / 8 for i in (2, 4)]
    np.testing.assert_allclose(halved[1:3], inner, rtol=1e-5)
    doubled = lapgan.enlarge(images)[0, 0, :, 0]
    np.testing.assert_allclose(doubled[1], (3 * row[0] + row[1]) / 4, rtol=1e-5)
    np.testing.assert_allclose(doubled[2], (row[0] + 3 * row[1]) / 4, rtol=1e-5)
    np.testing.assert_allclose(doubled[0], row[0], atol=1e-5)
    flat = jnp.full((1, 8, 8, 2), 0.3)
    np.testing.assert_allclose(lapgan.enlarge(lapgan.shrink(flat)), flat, rtol=1e-5)


def test_sizes() -> None:
    assert lapgan.sizes(32, 32, 8) == [(8, 8), (16, 16), (32, 32)]
    assert lapgan.sizes(28, 28, 8) == [(14, 14), (28, 28)]
    assert lapgan.sizes(64, 32, 4) == [(8, 4), (16, 8), (32, 16), (64, 32)]
    with pytest.raises(UserError, match="do not halve to 8 px"):
        lapgan.sizes(15, 16, 8)


def test_a_generator_adds_to_the_enlarged_image() -> None:
    net, low = lapgan.Generator(4, 3), jnp.ones((2, 12, 12, 2))
    given = lapgan.with_noise_plane(low, jnp.arange(2 * 144.0).reshape(2, 144))
    np.testing.assert_array_equal(given[1, 0, :3, 2], [144, 145, 146])
    variables = net.init(jax.random.key(0), given, jnp.array([0, 1]), train=False)
    zero = jax.tree.map(jnp.zeros_like, variables["params"]["image"])
    still = {"params": {**variables["params"], "image": zero}}
    np.testing.assert_array_equal(net.apply(still, given, jnp.array([0, 1]), train=True), low)
    made = [net.apply(variables, given, jnp.full(2, i), train=True) for i in range(2)]
    assert made[0].shape == low.shape and abs(made[0] - made[1]).max() > 0, "the class is seen"


def test_parameters_of_the_authors_networks() -> None:
    """CIFAR-10 at 32 px: by hand from their layers (4 planes in, 64 channels, 7x7, 7x7, 5x5)."""
    generator, given = lapgan.Generator(), jnp.zeros((1, 32, 32, 4))
    discriminator, images = lapgan.Discriminator(), jnp.zeros((1, 32, 32, 3))
    counts = [
        sum(
            x.size
            for x in jax.tree.leaves(
                jax.eval_shape(lambda k, x=x, n=n: n.init(k, x, train=False), jax.random.key(0), x)
            )
        )
        for n, x in ((generator, given), (discriminator, images))
    ]
    assert counts[0] == 49 * 4 * 64 + 64 + 49 * 64 * 64 + 64 + 25 * 64 * 3 + 3
    # Theirs has 12 * 12 windows before the last layer, and does not see the last row and column.
    assert counts[1] == 25 * 3 * 64 + 64 + 25 * 64 * 64 + 64 + 64 * 13 * 13 + 1


@pytest.mark.parametrize("side", [10, 16, 32])
def test_a_discriminator_sees_every_pixel(side: int) -> None:
    net, images = lapgan.Discriminator(8), jax.random.normal(jax.random.key(1), (2, side, side, 1))
    variables = net.init(jax.random.key(0), images, train=False)
    gradient = jax.grad(lambda x: net.apply(variables, x, train=False).sum())(images)
    assert (abs(gradient).max((0, 3)) > 0).all()


@pytest.mark.parametrize("coarse", [False, True])
def test_a_discriminator_sees_the_class_where_it_is_to(coarse: bool) -> None:
    images, labels = jax.random.normal(jax.random.key(1), (2, 12, 12, 1)), jnp.array([0, 1])
    for conditional, sees in (("concat", True), ("classifier", False)):
        net = lapgan.Discriminator(6, 3, head=Head(conditional), coarse=coarse)
        variables = net.init(jax.random.key(0), images, labels, train=False)
        said = [net.apply(variables, images, (labels + i) % 3, train=True) for i in range(2)]
        assert said[0].shape == (2,) and bool((abs(said[0] - said[1]) > 0).any()) == sees
