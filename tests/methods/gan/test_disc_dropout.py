"""Dropout in discriminators: where it is, what it leaves alone, and one mask an example."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from flax import linen as nn
from learning import build, first_steps, sgd

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.models import lapgan, mlp_gan

NETS = {
    "mlp": lambda rate: mlp_gan.Discriminator(8, dropout_rate=rate),
    "conv2014": lambda rate: mlp_gan.Discriminator(8, convolutional=True, dropout_rate=rate),
    "level": lambda rate: lapgan.Discriminator(6, dropout_rate=rate),
    "coarse": lambda rate: lapgan.Discriminator(32, coarse=True, dropout_rate=rate),
}
IMAGES = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1), minval=-1.0)
KEYS = jax.random.split(jax.random.key(2), 4)


def built(name: str, rate: float) -> tuple[nn.Module, dict]:
    """Return a network with kernels of a size at which all units have a say."""
    net = NETS[name](rate)
    variables = net.init(jax.random.key(0), IMAGES, train=False)
    larger = lambda x: 20 * x if x.ndim > 1 and name in ("mlp", "conv2014") else x  # noqa: E731
    return net, jax.tree.map(larger, variables)


@pytest.mark.parametrize("name", NETS)
def test_only_in_training_and_an_example_at_a_time(name: str) -> None:
    net, variables = built(name, 0.5)
    still = net.apply(variables, IMAGES, train=False)
    np.testing.assert_array_equal(still, built(name, 0.0)[0].apply(variables, IMAGES, train=True))
    moved = net.apply(variables, IMAGES, train=True, keys=KEYS)
    assert (abs(moved - still) > 1e-3 * abs(still).max()).all()
    turned = net.apply(variables, IMAGES[::-1], train=True, keys=KEYS[::-1])
    np.testing.assert_allclose(turned[::-1], moved, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="Discriminator: keys=None"):
        net.apply(variables, IMAGES, train=True)


def test_what_the_last_layer_is_given_keeps_its_mean() -> None:
    """A level has its only mask there, and the logit is linear in it."""
    net, variables = built("level", 0.5)
    still = net.apply(variables, IMAGES[:1], train=False)[0]
    keys = jax.random.split(jax.random.key(3), 2000)
    images = jnp.broadcast_to(IMAGES[:1], (2000, *IMAGES.shape[1:]))
    many = np.asarray(net.apply(variables, images, train=True, keys=keys))
    assert many.std() > 0
    assert abs(many.mean() - still) < 4 * many.std() / np.sqrt(2000)


def test_a_fifth_of_the_pixels_turn_black() -> None:
    """Nothing else at a rate near 0: black images stay, white ones are a quarter brighter."""
    net, variables = built("mlp", 1e-9)
    black = -jnp.ones_like(IMAGES)
    apply = lambda x: net.apply(variables, x, train=True, keys=KEYS)  # noqa: E731
    np.testing.assert_allclose(apply(black), net.apply(variables, black, train=False), rtol=1e-5)

    kernel = jnp.zeros_like(variables["params"]["hidden0"]["kernel"]).at[:, 0].set(1 / 256)
    variables["params"]["hidden0"] = {"kernel": kernel, "bias": jnp.zeros(kernel.shape[1])}
    _, seen = net.apply(
        variables,
        jnp.ones((500, 16, 16, 1)),
        train=True,
        keys=jax.random.split(jax.random.key(4), 500),
        capture_intermediates=lambda module, _: module.name == "hidden0",
    )
    mean = np.asarray(seen["intermediates"]["hidden0"]["__call__"][0])[:, 0]
    # Each pixel is 1.5 with probability 0.8, else -1; 256 of them, 500 times.
    assert abs(mean.mean() - 1.0) < 5 * 1.0 / np.sqrt(256 * 500)
    np.testing.assert_allclose(mean.std() * 16, 1.0, rtol=0.2)


PENALISED = pytest.param(dict(terms__disc__r1=0.1), marks=pytest.mark.slow)


@pytest.mark.parametrize("changes", [{}, PENALISED])
def test_training_does_not_depend_on_microbatches_or_devices(changes: dict) -> None:
    def after(devices: int, **more: object) -> object:
        config = sgd(smoke_config("gan", train__batch_size=16, **changes, **more))
        return first_steps(config, "jit", devices).nets

    expected = after(1)
    for got in (after(1, train__microbatches=2), after(8, train__remat=True)):
        chex.assert_trees_all_close(got, expected, atol=1e-6, rtol=1e-5)


def test_each_players_update_has_masks() -> None:
    """Also where the other one does not move."""
    for player, other in (("gen", "disc"), ("disc", "gen")):
        params = []
        for rate in (0.0, 0.5):
            config = sgd(smoke_config("gan", model__disc__dropout=rate))
            config.optim[other].lr = 1e-12
            params.append(first_steps(config, "jit", 1, steps=1).nets[player].params)
        with pytest.raises(AssertionError):
            chex.assert_trees_all_close(*params, rtol=1e-5)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_none(rate: float) -> None:
    config = smoke_config("gan", model__disc__dropout=rate)
    with pytest.raises(UserError, match=rf"disc\.dropout={rate}: in \[0, 1\)"):
        make_task(config, open_data(config.data).spec)


def test_networks_without_it() -> None:
    with pytest.raises(UserError, match=r"model\.disc=dcgan has no 'dropout'"):
        build("dcgan", model__disc__dropout=0.5)
