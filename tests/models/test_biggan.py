"""SAGAN, BigGAN and BigGAN-deep: parameter counts, what reaches which block, refusals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.state import count_parameters
from gan_jax.models import biggan, biggan_deep, resnet_gan

CLASSES = 1000


def count(module: nn.Module, *shape: int) -> int:
    """Return the number of parameters without computing anything."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    variables = jax.eval_shape(
        lambda *a: module.init(jax.random.key(0), *a, train=False), x, labels
    )
    return count_parameters(variables["params"])


def discriminator(width: int, classes: int, attention: int) -> resnet_gan.Discriminator:
    """Return BigGAN's."""
    return resnet_gan.Discriminator(
        width, classes, attention=attention, wide=True, plan="biggan", weight_init="orthogonal"
    )


# Counted from the authors' PyTorch code (github.com/ajbrock/BigGAN-PyTorch at 98459431) with 1,000
# classes, by building its networks. The paper has 70.4 M and 88.0 M for BigGAN-128, and 50.4 M and
# 34.6 M for BigGAN-deep-128 (arXiv:1809.11096, table 2): 0.2 M more in the generator than its code.
@pytest.mark.parametrize(
    ("side", "latent", "attention", "counts"),
    [
        (32, 120, 0, (9_466_115, 9_836_929)),
        (64, 120, 32, (70_377_348, 45_511_970)),
        (128, 120, 64, (70_433_988, 87_982_370)),
        (256, 140, 64, (82_235_844, 99_225_890)),
    ],
)
def test_biggan_has_the_parameters_of_the_reference(
    side: int, latent: int, attention: int, counts: tuple[int, int]
) -> None:
    generator = biggan.Generator((side, side, 3), 96, CLASSES, attention=attention)
    judge = discriminator(96, CLASSES, attention)
    assert (count(generator, latent), count(judge, side, side, 3)) == counts


@pytest.mark.parametrize(
    ("side", "attention", "counts"),
    [
        (32, 0, (7_561_987, 3_088_129)),
        (64, 32, (49_829_636, 20_951_554)),
        (128, 64, (50_244_484, 34_590_210)),
        (256, 64, (55_736_708, 38_247_426)),
    ],
)
def test_biggan_deep_has_the_parameters_of_the_reference(
    side: int, attention: int, counts: tuple[int, int]
) -> None:
    generator = biggan_deep.Generator((side, side, 3), 128, CLASSES, attention=attention)
    judge = biggan_deep.Discriminator(128, CLASSES, attention=attention)
    assert (count(generator, 128), count(judge, side, side, 3)) == counts


def test_sagan_has_the_parameters_of_the_reference() -> None:
    """Those of the same PyTorch code with its SAGAN script: attention at 64 px."""
    generator = resnet_gan.Generator((128, 128, 3), 64, CLASSES, norm="spectral", attention=64)
    judge = resnet_gan.Discriminator(64, CLASSES, attention=64, wide=True)
    assert count(generator, 128) == 42_017_412
    assert count(judge, 128, 128, 3) == 39_448_258


SMALL = (16, 16, 3)
NETWORKS = {
    "biggan": (biggan.Generator, discriminator(2, 3, 8)),
    "biggan_deep": (biggan_deep.Generator, biggan_deep.Discriminator(4, 3, attention=8)),
}


def randomised(variables: Any) -> dict[str, Any]:
    """Give every parameter a random value: gains of attention are 0 at first."""
    leaves, tree = jax.tree.flatten(variables["params"])
    draw = np.random.default_rng(0)
    values = [jnp.asarray(draw.normal(0, 1, x.shape), jnp.float32) for x in leaves]
    return {**variables, "params": jax.tree.unflatten(tree, values)}


@pytest.mark.parametrize(
    "name", ["biggan", pytest.param("biggan_deep", marks=pytest.mark.all_configs)]
)
def test_class_and_every_part_of_the_latents_reach_the_image(name: str) -> None:
    make, judge = NETWORKS[name]
    generator = make(SMALL, 4, 3, embedding=5, attention=8)
    z, labels = jax.random.normal(jax.random.key(0), (2, 9)), jnp.array([0, 2])
    variables = randomised(generator.init(jax.random.key(1), z, labels, train=False))
    images = generator.apply(variables, z, labels, train=False)
    assert images.shape == (2, *SMALL) and np.isfinite(images).all()
    for part in range(3):
        changed = z.at[:, 3 * part].add(1.0)
        assert abs(generator.apply(variables, changed, labels, train=False) - images).max() > 1e-4
    other = generator.apply(variables, z, (labels + 1) % 3, train=False)
    assert abs(other - images).max() > 1e-4
    inputs = jax.random.normal(jax.random.key(2), (2, *SMALL))
    judged = randomised(judge.init(jax.random.key(3), inputs, labels, train=False))
    logits = judge.apply(judged, inputs, labels, train=False)
    assert logits.shape == (2,)
    assert abs(judge.apply(judged, inputs, labels[::-1], train=False) - logits).max() > 1e-4
    gradient = jax.grad(lambda x: judge.apply(judged, x, labels, train=False)[0])(inputs)
    assert abs(gradient[0]).max() > 0 and abs(gradient[1]).max() == 0  # no statistics of a batch


@pytest.mark.parametrize("name", NETWORKS)
def test_unconditional_networks_build(name: str) -> None:
    make, _ = NETWORKS[name]
    generator = make(SMALL, 4)
    images, variables = generator.init_with_output(jax.random.key(0), jnp.ones((2, 6)), train=False)
    assert images.shape == (2, *SMALL) and "class" not in variables["params"]


def test_an_embedding_is_shared_and_not_normalised() -> None:
    generator = biggan.Generator(SMALL, 4, 3, embedding=5)
    z, labels = jnp.ones((1, 9)), jnp.zeros(1, jnp.int32)
    variables = generator.init(jax.random.key(0), z, labels, train=False)
    assert variables["params"]["class"]["embedding"].shape == (3, 5)
    assert "class" not in variables["spectral"]
    scale = variables["params"]["block0_norm_a"]["scale"]["kernel"]
    assert scale.shape == (5 + 3, 16)
    kernel = np.asarray(variables["params"]["block1_conv_a"]["kernel"]).reshape(-1, 16)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(16), atol=1e-5)


def test_latents_that_do_not_divide_are_refused() -> None:
    biggan.check_latent(120, 128, 128)
    with pytest.raises(UserError, match=r"model.latent=128.* 6 equal parts.* 126 or 132"):
        biggan.check_latent(128, 128, 128)
    with pytest.raises(UserError, match=r"model.latent=2.* 3 or 6"):
        biggan.check_latent(2, 16, 16)
    biggan.check_latent(6, 16, 16, codes=3)
    with pytest.raises(UserError, match=r"latent=8 and 3 numbers of codes.* use 6 or 9"):
        biggan.check_latent(8, 16, 16, codes=3)
