"""VAE networks: shapes over sizes and channels, errors, finite log-variances."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.models.vae import (
    LOG_VARIANCE_RANGE,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    conv_stages,
)

NETS = {"conv": (ConvEncoder, ConvDecoder), "mlp": (MLPEncoder, MLPDecoder)}


def make(net: str, shape: tuple[int, int, int], latent: int = 5) -> tuple[nn.Module, nn.Module]:
    encoder, decoder = NETS[net]
    return encoder(latent=latent, width=4), decoder(image_shape=shape, width=4)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        ("conv", (4, 4, 1)),
        ("conv", (28, 28, 1)),
        ("conv", (32, 32, 3)),
        ("conv", (64, 64, 4)),
        ("conv", (20, 48, 3)),
        ("mlp", (7, 9, 1)),
        ("mlp", (33, 20, 4)),
    ],
)
def test_shapes(net, shape):
    encoder, decoder = make(net, shape)
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    z = jax.ShapeDtypeStruct((3, 5), jnp.float32)
    for model, given, shapes in ((encoder, x, [(3, 5), (3, 5)]), (decoder, z, [(3, *shape)])):
        found, variables = jax.eval_shape(
            lambda x, m=model: m.init_with_output(jax.random.key(0), x, train=True), given
        )
        assert set(variables) == {"params"}
        assert [y.shape for y in jax.tree.leaves(found)] == shapes


def test_an_encoder_with_statistics():
    encoder = ConvEncoder(5, 4, "batch")
    x = np.random.default_rng(0).normal(3.0, 1.0, (8, 8, 8, 1)).astype(np.float32)
    variables = encoder.init(jax.random.key(0), x, train=False)
    _, moved = encoder.apply(variables, x, train=True, mutable=["batch_stats"])
    assert set(moved["batch_stats"]) == {"norm0", "norm1"}
    before, after = variables["batch_stats"], moved["batch_stats"]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, after)))


def test_tanh():
    """Hidden units in (-1, 1), and weights by Glorot & Bengio."""
    encoder = MLPEncoder(latent=3, width=50, tanh=True)
    x = np.random.default_rng(0).normal(0, 100, (4, 8, 8, 1)).astype(np.float32)
    levels = (x + 1) / 2
    params = encoder.init(jax.random.key(0), x, train=False)["params"]
    limit = np.sqrt(6 / (64 + 50))
    assert 0.95 * limit < np.abs(params["hidden0"]["kernel"]).max() <= limit
    mean, _ = encoder.apply({"params": params}, x, train=False)
    hidden = np.tanh(levels.reshape(4, -1) @ params["hidden0"]["kernel"])
    hidden = np.tanh(hidden @ params["hidden1"]["kernel"])
    np.testing.assert_allclose(mean, hidden @ params["mean"]["kernel"], rtol=1e-3, atol=1e-4)
    decoder = MLPDecoder(image_shape=(8, 8, 1), width=50, tanh=True)
    params = decoder.init(jax.random.key(0), mean, train=False)["params"]
    assert np.abs(params["outputs"]["kernel"]).max() <= limit


def test_stages():
    sizes = [(4, 4), (12, 12), (28, 28), (32, 32), (64, 64), (28, 32), (20, 48), (100, 100)]
    assert [conv_stages(*size) for size in sizes] == [2, 2, 2, 3, 4, 2, 2, 2]


@pytest.mark.parametrize("size", [(30, 28), (28, 30), (2, 4)])
def test_size_that_does_not_divide_says_so(size):
    with pytest.raises(UserError, match=r"divide by 4.*net=mlp"):
        encoder = ConvEncoder(latent=5)
        encoder.init(jax.random.key(0), jnp.zeros((1, *size, 1)), train=False)
    with pytest.raises(UserError, match="divide by 4"):
        decoder = ConvDecoder(image_shape=(*size, 1))
        decoder.init(jax.random.key(0), jnp.zeros((1, 5)), train=False)


@pytest.mark.parametrize("net", sorted(NETS))
def test_examples_stay_apart_and_log_variances_finite(net):
    encoder, decoder = make(net, (8, 8, 1))
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)
    z = rng.normal(size=(4, 5)).astype(np.float32)

    def variables_of(model, given):
        shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), given)
        return jax.tree.map(lambda p: 0.3 * rng.normal(size=p.shape).astype(np.float32), shapes)

    order = np.array([2, 0, 3, 1])
    for model, given in ((encoder, x), (decoder, z)):
        run = jax.jit(lambda v, x, m=model: jax.tree.leaves(m.apply(v, x, train=True)))
        variables = variables_of(model, given)
        for found, expected in zip(
            run(variables, given[order]), run(variables, given), strict=True
        ):
            np.testing.assert_allclose(found, expected[order], rtol=1e-4, atol=1e-5)
            assert np.abs(expected[0] - expected[1]).max() > 1e-2
        if model is encoder:
            _, log_variance = run(jax.tree.map(lambda p: 100 * p, variables), given)
    assert (log_variance.min(), log_variance.max()) == LOG_VARIANCE_RANGE
    assert np.isfinite(np.exp(log_variance)).all()
