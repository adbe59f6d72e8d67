"""VAE networks: shapes over sizes and channels, errors, finite log-variances."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models.vae import (
    LOG_VARIANCE_RANGE,
    VAE,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    conv_stages,
)

NETS = {"conv": (ConvEncoder, ConvDecoder), "mlp": (MLPEncoder, MLPDecoder)}


def make(net: str, shape: tuple[int, int, int], latent: int = 5) -> VAE:
    encoder, decoder = NETS[net]
    return VAE(encoder=encoder(latent=latent, width=4), decoder=decoder(image_shape=shape, width=4))


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
    model = make(net, shape)
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    z = jax.ShapeDtypeStruct((3, 5), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    assert set(variables) == {"params"}
    assert set(variables["params"]) == {"encoder", "decoder"}
    run = lambda *args, **kw: jax.eval_shape(  # noqa: E731
        lambda v, *a: model.apply(v, *a, train=True, **kw), variables, *args
    )
    outputs, mean, log_variance = run(x, z)
    assert outputs.shape == (3, *shape)
    assert mean.shape == log_variance.shape == (3, 5)
    assert [y.shape for y in run(x, method="encode")] == [(3, 5), (3, 5)]
    assert run(z, method="decode").shape == (3, *shape)


def test_stages():
    sizes = [(4, 4), (12, 12), (28, 28), (32, 32), (64, 64), (28, 32), (20, 48), (100, 100)]
    assert [conv_stages(*size) for size in sizes] == [2, 2, 2, 3, 4, 2, 2, 2]


@pytest.mark.parametrize("size", [(30, 28), (28, 30), (2, 4)])
def test_size_that_does_not_divide_says_so(size):
    with pytest.raises(UserError, match=r"divide by 4.*net=mlp"):
        make("conv", (*size, 1)).init(jax.random.key(0), jnp.zeros((1, *size, 1)), train=False)
    with pytest.raises(UserError, match="divide by 4"):
        decoder = ConvDecoder(image_shape=(*size, 1))
        decoder.init(jax.random.key(0), jnp.zeros((1, 5)), train=False)


@pytest.mark.parametrize("net", sorted(NETS))
def test_examples_stay_apart_and_log_variances_finite(net):
    model = make(net, (8, 8, 1))
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    variables = jax.tree.map(lambda p: 0.3 * rng.normal(size=p.shape).astype(np.float32), shapes)
    run = jax.jit(lambda v, x, noise: model.apply(v, x, noise, train=True))
    zero, noise = np.zeros((4, 5), np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    outputs, mean, log_variance = run(variables, x, noise)
    order = np.array([2, 0, 3, 1])
    for found, expected in zip(
        run(variables, x[order], noise[order]), (outputs, mean, log_variance), strict=True
    ):
        np.testing.assert_allclose(found, expected[order], rtol=1e-4, atol=1e-5)
    center = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)[0]
    np.testing.assert_allclose(run(variables, x, zero)[0], center, rtol=1e-4, atol=1e-5)
    assert np.abs(outputs - center).max() > 1e-2

    _, _, log_variance = run(jax.tree.map(lambda p: 100 * p, variables), x, noise)
    assert (log_variance.min(), log_variance.max()) == LOG_VARIANCE_RANGE
    assert np.isfinite(np.exp(log_variance)).all()
