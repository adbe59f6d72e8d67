"""ADA: its operations by hand, and how its probability moves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import ada as module
from gan_jax.augment.ada import PARTS, adapted, color_matrix, geometry_matrix, initial, mirror
from gan_jax.augment.geometric import bilinear_sample

ada = jax.jit(module.ada, static_argnums=3)
DRAW = np.random.default_rng(0)
IMAGES = jnp.asarray(DRAW.uniform(-1, 1, (6, 8, 8, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 6)
MANY = jax.random.split(jax.random.key(1), 4000)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_without_probability_nothing_changes(channels: int) -> None:
    images = jnp.asarray(DRAW.uniform(-1, 1, (6, 8, 12, channels)), jnp.float32)
    np.testing.assert_allclose(ada(images, KEYS, jnp.zeros(()), PARTS), images, atol=1e-5)


def test_an_image_depends_on_its_key_only() -> None:
    made = ada(IMAGES, KEYS, jnp.float32(0.8), PARTS)
    part = ada(IMAGES[2:4], KEYS[2:4], jnp.float32(0.8), PARTS)
    np.testing.assert_allclose(made[2:4], part, atol=1e-5)
    assert (abs(made - IMAGES).max((1, 2, 3)) > 0.01).sum() >= 5


def test_quarter_turns_and_mirror_images_are_exact() -> None:
    """A matrix of the geometry moves pixels as NumPy does."""
    y, x = jnp.meshgrid(jnp.arange(8) - 3.5, jnp.arange(8) - 3.5, indexing="ij")
    turn = jnp.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    place = jnp.einsum("ij,jhw->ihw", turn, jnp.stack([y, x, jnp.ones_like(y)]))
    made = bilinear_sample(IMAGES[:1], place[None, 0] + 3.5, place[None, 1] + 3.5, 0.0)
    assert any(np.allclose(made[0], np.rot90(IMAGES[0], k), atol=1e-5) for k in (1, 3)), (
        "a quarter turn"
    )


def test_mirror() -> None:
    places = jnp.array([-2.0, -0.5, 0.0, 3.0, 3.25, 5.0, 6.0, 7.0])
    np.testing.assert_allclose(mirror(places, 4), [2, 0.5, 0, 3, 2.75, 1, 0, 1])


def test_each_operation_happens_with_its_probability() -> None:
    """With p = 0.3: the share of matrices that move nothing is that of independent draws."""
    p = jnp.float32(0.3)
    draw = functools.partial(geometry_matrix, p=p, height=64, width=64)
    matrices = np.asarray(jax.jit(jax.vmap(draw))(MANY))
    still = (abs(matrices - np.eye(3)).max((1, 2)) < 1e-5).mean()
    # Half of the mirrors and a quarter of the turns are none; both free turns together have p, as
    # has each of: shift, scale, stretch, fraction of a pixel.
    expected = (1 - 0.15) * (1 - 0.225) * 0.7**5
    assert still == pytest.approx(expected, abs=0.015)
    matrices = np.asarray(jax.jit(jax.vmap(functools.partial(color_matrix, p=p)))(MANY))
    still = (abs(matrices - np.eye(4)).max((1, 2)) < 1e-5).mean()
    assert still == pytest.approx((1 - 0.15) * 0.7**4, abs=0.02)


def test_colours_keep_greys_grey() -> None:
    draw = functools.partial(color_matrix, p=jnp.ones(()))
    matrices = np.asarray(jax.jit(jax.vmap(draw))(MANY[:50]))
    grey = matrices @ np.array([0.4, 0.4, 0.4, 1])
    np.testing.assert_allclose(grey[:, :3], np.repeat(grey[:, :1], 3, 1), atol=1e-5)
    np.testing.assert_allclose(matrices[:, 3], np.tile([0, 0, 0, 1], (50, 1)), atol=1e-6)
    one = ada(IMAGES[..., :1], KEYS, jnp.ones(()), ("color",))
    three = ada(jnp.repeat(IMAGES[..., :1], 3, -1), KEYS, jnp.ones(()), ("color",))
    np.testing.assert_allclose(one, three[..., :1], atol=1e-5)


def test_the_probability_follows_the_signs() -> None:
    state = initial()
    for step in range(8):  # sure of all real images: over-fitting
        state = adapted(state, jnp.float32(1), jnp.int32(step), batch_size=100, ramp_images=1000.0)
        assert float(state["p"]) == pytest.approx(0.4 * ((step + 1) // 4))
    for step in range(8, 20):  # 0.5 is below the target of 0.6
        state = adapted(
            state, jnp.float32(0.5), jnp.int32(step), batch_size=100, ramp_images=1000.0
        )
    assert float(state["p"]) == 0 and float(state["signs"]) == 0
    for step in range(40):
        state = adapted(
            state, jnp.float32(0.7), jnp.int32(step), batch_size=100, ramp_images=1000.0
        )
    assert float(state["p"]) == 1
