"""DenseNet's blocks in the residual generator: parameters, what a layer sees, what it goes with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from gan_jax.core.errors import UserError
from gan_jax.core.state import count_parameters
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.models.blocks.gen_blocks import LAYERS
from gan_jax.models.blocks.gen_norm import GEN_CONDITIONALS
from gan_jax.models.resnet_gan import Generator


def abstract(module: Generator, labels: bool = False) -> tuple[tuple[int, ...], Any]:
    """Return (shape of two images, abstract variables) without computing anything."""
    given = (jax.ShapeDtypeStruct((2, 6), jnp.float32),)
    if labels:
        given += (jax.ShapeDtypeStruct((2,), jnp.int32),)
    images, variables = jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, train=False), *given
    )
    return images.shape, variables


@pytest.mark.parametrize(
    ("side", "stages", "classes"),
    [
        (28, (7, [16, 16, 16]), 10),
        (32, (4, [16, 16, 16, 16]), 0),
        (48, (6, [128, 64, 32, 16]), 0),
        pytest.param(64, (4, [256, 128, 64, 32, 16]), 10, marks=pytest.mark.slow),
        pytest.param(128, (4, [256, 256, 128, 64, 32, 16]), 0, marks=pytest.mark.slow),
    ],
)
def test_parameters_in_closed_form(side: int, stages: tuple[int, list[int]], classes: int) -> None:
    base, (first, *blocks) = stages
    norm = 2 * max(classes, 1)  # of a channel

    def layer(size: int, before: int, after: int) -> int:
        return norm * before + size**2 * before * after + after

    expected = (6 + 1) * base**2 * first
    before = first
    for features in blocks:
        k = features // 8
        expected += layer(1, before, features // 2)
        for i in range(4):
            expected += layer(1, features // 2 + i * k, 4 * k) + layer(3, 4 * k, k)
        before = features
    expected += 2 * 16 + 9 * 16 * 3 + 3  # the last BatchNorm, not given the class, and the image
    shape, variables = abstract(Generator((side, side, 3), 16, classes, block="dense"), classes > 0)
    assert shape == (2, side, side, 3)
    assert count_parameters(variables["params"]) == expected


def convolve(x: jax.Array, layer: dict[str, jax.Array]) -> jax.Array:
    y = jax.lax.conv_general_dilated(
        x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + layer["bias"]


def test_each_layer_sees_all_earlier_features() -> None:
    """Written out: what a layer sees is every part before it, in order, at the doubled size."""
    module = Generator((16, 16, 1), width=8, block="dense")
    z = jax.random.normal(jax.random.key(0), (4, 5))
    variables = module.init(jax.random.key(1), z, train=False)
    draw = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(draw.normal(0, 0.5, x.shape), jnp.float32), variables["params"]
    )

    def active(x: jax.Array, name: str) -> jax.Array:
        normal = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)
        return jax.nn.relu(normal * params[name]["scale"] + params[name]["bias"])

    def convolved(x: jax.Array, part: str) -> jax.Array:
        return convolve(active(x, f"{part}_norm"), params[f"{part}_conv"])

    x = (z @ params["dense"]["kernel"] + params["dense"]["bias"]).reshape(4, 4, 4, 8)
    for block in ("block0", "block1"):
        doubled = x.repeat(2, 1).repeat(2, 2)
        parts = [convolved(doubled, f"{block}_transition")]  # it commutes with the doubling
        for i in range(LAYERS):
            seen = jnp.concatenate(parts, -1)
            assert seen.shape[-1] == params[f"{block}_layer{i}_narrow_conv"]["kernel"].shape[2]
            narrow = convolved(seen, f"{block}_layer{i}_narrow")
            parts.append(convolved(narrow, f"{block}_layer{i}"))
        x = jnp.concatenate(parts, -1)
        assert [part.shape[-1] for part in parts] == [4, 1, 1, 1, 1]
    expected = jnp.tanh(convolve(active(x, "norm"), params["image"]))
    made, _ = module.apply({**variables, "params": params}, z, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "conditional",
    [
        pytest.param(c, marks=() if c == "batch_norm" else pytest.mark.slow)
        for c in GEN_CONDITIONALS
    ],
)
def test_where_the_class_enters(conditional: str) -> None:
    """By the derivative of the images in the weights of the classes, and by the layers' shapes."""
    module = Generator((16, 16, 1), 4, 3, conditional, block="dense")
    z, classes = jnp.ones((2, 5)), jnp.full((2, 3), 1 / 3)
    variables = jax.jit(lambda: module.init(jax.random.key(0), z, classes, train=False))()
    draw = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: x + 0.3 * draw.normal(size=x.shape), variables)
    slope = jax.jit(
        jax.grad(lambda c: jnp.square(module.apply(variables, z, c, train=False)).sum())
    )(classes)
    assert slope.shape == (2, 3) and float(abs(slope).min()) > 0
    layer = variables["params"]["block1_layer2_norm"]
    shape = jax.tree.map(jnp.shape, layer)
    if conditional == "batch_norm":
        assert shape == {"scale": (3, 4), "bias": (3, 4)}
    elif conditional == "self_modulation":
        assert shape["hidden"]["kernel"] == (5 + 3, 32) and shape["scale"]["kernel"] == (32, 4)
    else:
        assert shape == {"scale": (4,), "bias": (4,)}
        assert variables["params"]["dense"]["kernel"].shape[0] == 5 + 3


def test_spectral_norm_and_attention() -> None:
    module = Generator((32, 32, 3), 8, norm="spectral", attention=16, block="dense")
    shape, variables = abstract(module)
    assert shape == (2, 32, 32, 3)
    weights = {name for name, layer in variables["params"].items() if "kernel" in layer}
    assert weights <= set(variables["spectral"]) and "block2_layer3_narrow_conv" in weights
    assert variables["params"]["attention"]["out"]["kernel"].shape[-1] == 8


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model__gen__block="densenet"), "gen.block='densenet' is not known: one of residual"),
        (
            dict(model__gen__block="dense", model__gen="mlp"),
            "model.gen=mlp has no 'block'",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config = smoke_config("sngan", **changes)
        make_task(config, open_data(config.data).spec)
