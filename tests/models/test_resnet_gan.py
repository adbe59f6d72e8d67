"""The residual GAN: sizes, parameter counts, blocks against their definition, refusals."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.state import count_parameters
from gan_jax.models.plans import check_attention, plan
from gan_jax.models.resnet_gan import Discriminator, Generator


def shapes(module: nn.Module, *inputs: tuple[int, ...], labels: bool = False) -> tuple:
    """Return (output shape, abstract variables) without computing anything."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    if labels:
        arguments.append(jax.ShapeDtypeStruct(inputs[0][:1], jnp.int32))
    output, variables = jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, train=False), *arguments
    )
    return output.shape, variables


# Counted from the modules of Mimicry (github.com/kwotsin/mimicry at a7fda06), `sngan_*` and
# `cgan_pd_32`, by building them in PyTorch.
@pytest.mark.parametrize(
    ("side", "classes", "widths", "counts"),
    [
        (32, 0, (256, 128), (4_276_739, 1_053_825)),
        (32, 10, (256, 128), (4_304_387, 1_055_105)),
        (48, 0, (64, 64), (4_878_083, 10_141_441)),
        (64, 0, (64, 64), (12_220_675, 10_141_441)),
        (128, 0, (64, 64), (32_150_787, 29_017_857)),
    ],
)
@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_as_many_parameters_as_the_reference(
    side: int, classes: int, widths: tuple[int, int], counts: tuple[int, int], norm: str
) -> None:
    shape, labels = (side, side, 3), classes > 0
    generator = Generator(shape, widths[0], classes)
    discriminator = Discriminator(widths[1], classes, norm)
    made, generators = shapes(generator, (2, 128), labels=labels)
    judged, discriminators = shapes(discriminator, (2, *shape), labels=labels)
    assert (made, judged) == ((2, *shape), (2,))
    found = tuple(count_parameters(v["params"]) for v in (generators, discriminators))
    assert found == counts


def test_parameters_of_32_px_by_hand() -> None:
    """Table 4 of arXiv:1802.05957, each convolution with a bias, each BatchNorm with two."""

    def conv(size: int, before: int, after: int) -> int:
        return size**2 * before * after + after

    block = 2 * conv(3, 256, 256) + conv(1, 256, 256) + 2 * (2 * 256)
    expected = 129 * 4 * 4 * 256 + 3 * block + 2 * 256 + conv(3, 256, 3)
    _, variables = shapes(Generator((32, 32, 3)), (1, 128))
    assert count_parameters(variables["params"]) == expected
    first = conv(3, 3, 128) + conv(3, 128, 128) + conv(1, 3, 128)
    rest = 3 * (2 * conv(3, 128, 128)) + conv(1, 128, 128)  # one of three has a shortcut
    _, variables = shapes(Discriminator(), (1, 32, 32, 3))
    assert count_parameters(variables["params"]) == first + rest + 128 + 1
    _, variables = shapes(Discriminator(norm="layer"), (1, 32, 32, 3))
    assert count_parameters(variables["params"]) == first + rest + 128 + 1 + 3 * 2 * 2 * 128


@pytest.mark.parametrize(
    "shape",
    [(16, 16, 1), (28, 28, 1), (32, 32, 4), (48, 32, 3), (48, 96, 3), (64, 128, 3), (96, 96, 1)],
)
@pytest.mark.parametrize("norm", ["spectral", "layer"])
def test_makes_and_judges_every_size(shape: tuple[int, int, int], norm: str) -> None:
    made, _ = shapes(Generator(shape, width=2), (2, 8))
    assert made == (2, *shape)
    judged, variables = shapes(Discriminator(width=2, norm=norm), (2, *shape))
    assert judged == (2,)
    assert "batch_stats" not in variables, "a gradient penalty must be possible"
    assert ("spectral" in variables) == (norm == "spectral")


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def convolve(x: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """Convolve with padding 'SAME', one tap at a time."""
    kernel, (batch, height, width, _) = np.asarray(layer["kernel"]), x.shape
    size = kernel.shape[0]
    x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    y = np.zeros((batch, height, width, kernel.shape[-1])) + np.asarray(layer["bias"])
    for i, j in np.ndindex(size, size):
        y += x[:, i : i + height, j : j + width] @ kernel[i, j]
    return y


def pool(x: np.ndarray) -> np.ndarray:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def randomised(variables: Any) -> dict[str, Any]:
    """Give every parameter a random value: a bias or a scale in the wrong place shows."""
    leaves, tree = jax.tree.flatten(variables["params"])
    draw = np.random.default_rng(0)
    values = [jnp.asarray(draw.normal(0, 0.3, x.shape), jnp.float32) for x in leaves]
    return {**variables, "params": jax.tree.unflatten(tree, values)}


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_the_discriminator_is_that_of_the_papers(pooling: str) -> None:
    """Written out in NumPy, with the order of pooling and shortcut that the published code has."""
    module = Discriminator(width=3, norm="none", pool=pooling, num_classes=2)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    labels = jnp.array([1, 0])
    variables = randomised(module.init(jax.random.key(1), images, labels, train=False))
    layers = variables["params"]
    x = np.asarray(images, np.float64)
    h = convolve(relu(convolve(x, layers["block0_conv_a"])), layers["block0_conv_b"])
    x = convolve(pool(x), layers["block0_shortcut"]) + pool(h)
    for i in (1, 2, 3):
        h = convolve(relu(x), layers[f"block{i}_conv_a"])
        h = convolve(relu(h), layers[f"block{i}_conv_b"])
        if i == 1:
            x, h = pool(convolve(x, layers["block1_shortcut"])), pool(h)
        x = x + h
    x = relu(x).sum((1, 2)) / (1 if pooling == "sum" else 16)
    expected = x @ np.asarray(layers["logits"]["kernel"])[:, 0] + np.asarray(
        layers["logits"]["bias"]
    )
    expected += (np.asarray(layers["class"]["embedding"])[[1, 0]] * x).sum(-1)
    got = module.apply(variables, images, labels, train=True)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_generator_is_that_of_the_papers() -> None:
    """Written out in NumPy, with the shortcut's convolution after the up-sampling."""
    module = Generator((16, 16, 1), width=3, num_classes=2)
    latents, labels = jax.random.normal(jax.random.key(0), (4, 5)), jnp.array([1, 0, 0, 1])
    variables = randomised(module.init(jax.random.key(1), latents, labels, train=False))
    layers = variables["params"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scale, bias = np.asarray(layers[name]["scale"]), np.asarray(layers[name]["bias"])
        if scale.ndim > 1:
            scale, bias = scale[labels][:, None, None], bias[labels][:, None, None]
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return relu((x - mean) / np.sqrt(var + 1e-5) * scale + bias)

    def double(x: np.ndarray) -> np.ndarray:
        return x.repeat(2, 1).repeat(2, 2)

    dense = layers["dense"]
    x = np.asarray(latents, np.float64) @ dense["kernel"] + dense["bias"]
    x = x.reshape(4, 4, 4, 3)
    for name in ("block0", "block1"):
        h = convolve(double(norm(x, f"{name}_norm_a")), layers[f"{name}_conv_a"])
        h = convolve(norm(h, f"{name}_norm_b"), layers[f"{name}_conv_b"])
        x = convolve(double(x), layers[f"{name}_shortcut"]) + h
    expected = np.tanh(convolve(norm(x, "norm"), layers["image"]))
    got, _ = module.apply(variables, latents, labels, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_weights_start_xavier_uniform() -> None:
    module = Discriminator(width=16, norm="none")
    params = module.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)["params"]
    for name, gain in (("block1_conv_a", 2**0.5), ("block1_shortcut", 1), ("logits", 1)):
        kernel = np.asarray(params[name]["kernel"])
        taps = kernel[..., 0, 0].size
        bound = gain * np.sqrt(6 / (taps * (kernel.shape[-2] + kernel.shape[-1])))
        assert abs(kernel).max() <= bound
        assert abs(kernel).max() > 0.8 * bound
        assert abs(params[name]["bias"]).max() == 0


def test_spectral_norm_bounds_every_layer() -> None:
    """After enough passes each weight has norm 1; u moves under train only, and no parameter."""
    module = Discriminator(width=2, num_classes=3)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    labels = jnp.array([0, 2])
    variables = module.init(jax.random.key(1), images, labels, train=False)
    _, kept = module.apply(variables, images, labels, train=False, mutable=["spectral"])
    chex.assert_trees_all_equal(kept["spectral"], variables["spectral"])
    assert set(variables["spectral"]) == set(variables["params"])
    step = jax.jit(
        lambda v: module.apply(v, images, labels, train=True, mutable=["spectral"])[1]["spectral"]
    )
    for _ in range(200):
        variables = {**variables, "spectral": step(variables)}
    for name, layer in variables["params"].items():
        weight = layer.get("kernel", layer.get("embedding"))
        matrix = np.asarray(weight).reshape(-1, weight.shape[-1])
        left = np.linalg.svd(matrix.T)[0][:, 0]
        u = np.asarray(variables["spectral"][name]["u"])
        assert abs(left @ u) == pytest.approx(1, abs=1e-3), name


def test_conditional_networks_see_the_class() -> None:
    key, labels = jax.random.key(0), jnp.arange(3)
    discriminator = Discriminator(width=2, num_classes=3)
    logits, _ = discriminator.init_with_output(key, jnp.ones((3, 16, 16, 1)), labels, train=False)
    assert len(set(map(float, logits))) == 3
    generator = Generator((16, 16, 1), width=2, num_classes=3)
    variables = randomised(generator.init(key, jnp.ones((3, 4)), labels, train=False))
    images = generator.apply(variables, jnp.ones((3, 4)), labels, train=False)
    assert abs(images[0] - images[1]).max() > 0


@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (30, 32), (32, 18), (4, 64), (56, 56), (80, 64), (256, 256)]
)
def test_sizes_that_do_not_fit_are_refused(height: int, width: int) -> None:
    with pytest.raises(UserError, match=f"{height}x{width}"):
        plan(height, width)


@pytest.mark.parametrize(
    ("family", "size", "fit"),
    [("sngan", 12, "8, 16"), ("sngan", 32, "8, 16"), ("biggan", 4, "8, 16")],
)
def test_attention_needs_features_of_its_size(family: str, size: int, fit: str) -> None:
    check_attention(0, 32, 32, family)
    check_attention(16, 32, 32, family)
    with pytest.raises(UserError, match=rf"model\.\*\.attention={size}.* {fit} px"):
        check_attention(size, 32, 32, family)


def test_unknown_choices_are_refused() -> None:
    images = jnp.zeros((1, 16, 16, 1))
    for fields, message in (
        (dict(norm="batch"), "disc.norm"),
        (dict(pool="max"), "pool"),
        (dict(weight_init="zeros"), "init"),
    ):
        with pytest.raises(UserError, match=message):
            Discriminator(width=2, **fields).init(jax.random.key(0), images, train=False)
