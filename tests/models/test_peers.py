"""Layers of GANs equal PyTorch's under the same weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models.blocks.attention import SelfAttention
from gan_jax.models.blocks.equalized import EqualizedConv
from gan_jax.models.blocks.norm import BatchNorm, ModulatedBatchNorm
from gan_jax.models.blocks.spectral import SpectralConv

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(4, 6, 6, 16)).astype(np.float32)
LABELS = np.array([2, 0, 1, 2])


def to_torch(x: np.ndarray) -> torch.Tensor:
    """[B, H, W, C] -> [B, C, H, W], or a kernel [kh, kw, C, O] -> [O, C, kh, kw]."""
    x = np.asarray(x)
    return torch.tensor(x.transpose(0, 3, 1, 2) if x is X else x.transpose(3, 2, 0, 1))


def close(got: jax.Array, expected: torch.Tensor) -> None:
    expected = expected.detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_spectral_norm() -> None:
    """PyTorch's normalises the same matrix, O rows; one pass in training takes one iteration."""
    layer = SpectralConv(8, train=True)
    variables = layer.init(jax.random.key(0), X)
    peer = torch.nn.Conv2d(16, 8, 3, padding=1)
    peer.weight.data = to_torch(variables["params"]["kernel"])
    peer.bias.data.zero_()
    peer = torch.nn.utils.spectral_norm(peer)
    peer.weight_u.copy_(torch.tensor(np.asarray(variables["spectral"]["u"])))
    for _ in range(3):
        got, moved = layer.apply(variables, X, mutable=["spectral"])
        variables = {**variables, **moved}
        close(got, peer(to_torch(X)))
        np.testing.assert_allclose(variables["spectral"]["u"], peer.weight_u, rtol=1e-4, atol=1e-6)


def test_conditional_batch_norm() -> None:
    layer = BatchNorm(num_classes=3)
    variables = layer.init(jax.random.key(0), X, LABELS, train=True)
    affine = {name: DRAW.normal(size=(3, 16)).astype(np.float32) for name in ("scale", "bias")}
    got, _ = layer.apply({**variables, "params": affine}, X, LABELS, train=True, mutable=True)
    peer = torch.nn.BatchNorm2d(16, affine=False)(to_torch(X))
    scale, bias = (torch.tensor(affine[n])[LABELS][:, :, None, None] for n in ("scale", "bias"))
    close(got, peer * scale + bias)


def test_modulated_batch_norm() -> None:
    layer, condition = ModulatedBatchNorm(), DRAW.normal(size=(4, 5)).astype(np.float32)
    variables = layer.init(jax.random.key(0), X, condition, train=True)
    got, _ = layer.apply(variables, X, condition, train=True, mutable=True)
    peer = torch.nn.BatchNorm2d(16, affine=False)(to_torch(X))
    scale, bias = (
        torch.nn.functional.linear(
            torch.tensor(condition), torch.tensor(np.asarray(variables["params"][n]["kernel"]).T)
        )
        for n in ("scale", "bias")
    )
    close(got, peer * (1 + scale)[:, :, None, None] + bias[:, :, None, None])


def test_self_attention() -> None:
    layer = SelfAttention()
    params = layer.init(jax.random.key(0), X)["params"]
    params = {**params, "gain": jnp.float32(0.5)}
    got = layer.apply({"params": params}, X)
    x = to_torch(X)

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, to_torch(params[name]["kernel"]))

    query = conv(x, "query").flatten(2).transpose(1, 2)
    key, value = (
        torch.nn.functional.max_pool2d(conv(x, n), 2).flatten(2).transpose(1, 2)
        for n in ("key", "value")
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    mixed = mixed.transpose(1, 2).reshape(4, -1, 6, 6)
    close(got, x + 0.5 * conv(mixed, "out"))


def test_equalised_convolution() -> None:
    layer = EqualizedConv(8)
    variables = layer.init(jax.random.key(0), X)
    weight = to_torch(variables["params"]["kernel"]) * (2 / (9 * 16)) ** 0.5
    close(layer.apply(variables, X), torch.nn.functional.conv2d(to_torch(X), weight, padding=1))
