"""Precision and rematerialisation, set once around any network."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.state import MUTABLE
from gan_jax.models import cnn, dcgan, patchgan, resnet, resnet_gan, unet, vae
from gan_jax.parallel.precision import training_apply

IMAGES = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
LATENTS = jax.ShapeDtypeStruct((2, 5), jnp.float32)
NETWORKS: dict[str, tuple[nn.Module, tuple]] = {
    "cnn": (cnn.CNN(outputs=3, width=4), (IMAGES,)),
    "resnet": (resnet.ResNet18(outputs=3, width=2), (IMAGES,)),
    "patchgan": (patchgan.PatchGAN(features=2, layers=2), (IMAGES, IMAGES)),
    "unet": (unet.UNet(features=2, dropout_rate=0.0), (IMAGES,)),
    "dcgan generator": (dcgan.Generator((16, 16, 3), 4), (LATENTS,)),
    "dcgan discriminator": (dcgan.Discriminator(4), (IMAGES,)),
    "spectral discriminator": (resnet_gan.Discriminator(4, 0, "spectral"), (IMAGES,)),
    "dense generator": (resnet_gan.Generator((16, 16, 3), 4, block="dense"), (LATENTS,)),
    "decoder": (vae.ConvDecoder((16, 16, 3), width=4), (LATENTS,)),
}


def forward(name: str, **how: Any) -> tuple[Any, Any, Any]:
    """Return (apply, abstract variables, abstract inputs) of a network in training."""
    module, inputs = NETWORKS[name]
    init = lambda key, *x: module.init(key, *x, train=False)  # noqa: E731
    variables = jax.eval_shape(init, jax.random.key(0), *inputs)
    apply = training_apply(module, **{"precision": "float32", "remat": False, **how})
    return lambda v, *x: apply(v, *x, train=True, mutable=MUTABLE), variables, inputs


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_is_within(name: str) -> None:
    """Products are in bfloat16; inputs, outputs and stored collections are float32."""
    apply, variables, inputs = forward(name, precision="bfloat16")
    for leaf in jax.tree.leaves((variables, jax.eval_shape(apply, variables, *inputs))):
        assert leaf.dtype == jnp.float32
    text = jax.jit(apply).lower(variables, *inputs).as_text()
    products = [x for x in text.splitlines() if "stablehlo.convolution" in x or "dot_general" in x]
    large = [line for line in products if line.count("x") >= 6]
    assert large and sum("bf16" in line for line in large) >= 0.7 * len(large), large


@pytest.mark.parametrize("name", NETWORKS)
def test_rematerialisation_keeps_block_outputs_only(name: str) -> None:
    """Residuals of the backward pass: fewer numbers, and the same result."""
    kept = {}
    for remat in (False, True):
        apply, variables, inputs = forward(name, remat=remat)
        residuals = jax.eval_shape(
            lambda v, *x, apply=apply: jax.vjp(
                lambda p: apply({**v, "params": p}, *x)[0], v["params"]
            )[1],
            variables,
            *inputs,
        )
        kept[remat] = sum(np.prod(x.shape) for x in jax.tree.leaves(residuals))
    assert kept[True] < 0.8 * kept[False], kept


def test_rematerialisation_changes_no_gradient() -> None:
    found = []
    for remat in (False, True):
        apply, variables, inputs = forward("dcgan discriminator", remat=remat)
        rng = np.random.default_rng(1)
        concrete = jax.tree.map(
            lambda x, rng=rng: rng.normal(0.5, 0.2, x.shape).astype(np.float32), variables
        )
        images = np.random.default_rng(2).normal(size=inputs[0].shape).astype(np.float32)

        def loss(params: Any, apply: Any = apply, v: Any = concrete, x: Any = images) -> jax.Array:
            return jnp.square(apply({**v, "params": params}, x)[0]).mean()

        found.append(jax.jit(jax.grad(loss))(concrete["params"]))
    chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-6)
