"""CycleGAN's generator and discriminator: published sizes, and PyTorch's arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.resnet_translator import ResNetTranslator


def parameters(module: object, side: int) -> int:
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    made = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), images)
    assert set(made) == {"params"}
    return sum(x.size for x in jax.tree.leaves(made))


def test_published_sizes() -> None:
    assert parameters(ResNetTranslator(blocks=9), 256) == 11_378_179
    assert parameters(ResNetTranslator(blocks=6), 128) == 7_837_699
    assert parameters(PatchGAN(norm="instance"), 256) == 2_764_737


def test_images_of_other_sizes() -> None:
    model = ResNetTranslator(features=2, outputs=1, blocks=1)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
    made = model.apply(variables, jax.random.normal(jax.random.key(1), (2, 24, 12, 3)), train=True)
    assert made.shape == (2, 24, 12, 1) and float(abs(made).max()) <= 1
    for size in ((18, 16), (16, 4)):
        with pytest.raises(UserError, match=f"{size[0]}x{size[1]} px: both sides must divide by 4"):
            model.apply(variables, jnp.zeros((1, *size, 3)), train=False)


def test_dropout_lies_within_the_blocks() -> None:
    model = ResNetTranslator(features=2, outputs=1, blocks=2, dropout_rate=0.5)
    images, keys = jnp.ones((2, 8, 8, 1)), jax.random.split(jax.random.key(0), 2)
    variables = model.init(jax.random.key(0), images, train=False, dropout=False)
    with pytest.raises(ValueError, match="keys=None"):
        model.apply(variables, images, train=True)
    plain, one, two = (
        model.apply(variables, jax.random.normal(keys[0], images.shape), train=True, **given)
        for given in (dict(dropout=False), dict(keys=keys), dict(keys=keys[::-1]))
    )
    assert abs(plain - one).max() > 0 and abs(one - two).max() > 0


def test_as_pytorch() -> None:
    """Every layer with random weights: padding, orientation of kernels, order, epsilon."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    model = ResNetTranslator(features=3, outputs=2, blocks=2)
    images = np.random.default_rng(0).normal(size=(2, 12, 16, 3)).astype(np.float32)
    params = model.init(jax.random.key(0), images, train=False)["params"]
    draws = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(lambda x: 0.3 * jax.random.normal(next(draws), x.shape), params)

    def conv(name: str, pad: int, stride: int = 1) -> object:
        kernel = np.asarray(params[name]["kernel"])
        layer = nn.Conv2d(*kernel.shape[2:], kernel.shape[0], stride, pad)
        layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1))
        layer.bias.data = torch.tensor(np.asarray(params[name]["bias"]))
        return layer

    def up(name: str) -> object:
        kernel = np.asarray(params[name]["kernel"])
        layer = nn.ConvTranspose2d(*kernel.shape[2:], 3, 2, 1, output_padding=1)
        layer.weight.data = torch.tensor(kernel.transpose(2, 3, 0, 1))
        layer.bias.data = torch.tensor(np.asarray(params[name]["bias"]))
        return layer

    def normed(layer: object, channels: int) -> list:
        return [layer, nn.InstanceNorm2d(channels), nn.ReLU()]

    def block(i: int) -> object:
        one = normed(conv(f"block{i}a", 0), 12)
        two = [conv(f"block{i}b", 0), nn.InstanceNorm2d(12)]
        return nn.Sequential(nn.ReflectionPad2d(1), *one, nn.ReflectionPad2d(1), *two)

    with torch.no_grad():
        x = torch.tensor(images.transpose(0, 3, 1, 2))
        before = [nn.ReflectionPad2d(3), *normed(conv("first", 0), 3)]
        before += [*normed(conv("down1", 1, 2), 6), *normed(conv("down2", 1, 2), 12)]
        x = nn.Sequential(*before)(x)
        for i in range(2):
            x = x + block(i)(x)
        after = [*normed(up("up1"), 6), *normed(up("up0"), 3), nn.ReflectionPad2d(3)]
        x = nn.Sequential(*after, conv("last", 0), nn.Tanh())(x)
    found = model.apply({"params": params}, images, train=False)
    np.testing.assert_allclose(found, x.numpy().transpose(0, 2, 3, 1), atol=2e-5)
