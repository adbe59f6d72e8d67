"""The last layers of a discriminator, and how generators and discriminators are given the class."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.task import Phase
from gan_jax.models import dcgan, mlp_gan, resnet_gan
from gan_jax.models.blocks.gen_norm import GEN_CONDITIONALS, SelfModulation, VirtualBatchNorm
from gan_jax.models.blocks.heads import (
    CONDITIONALS,
    Head,
    MinibatchDiscrimination,
    with_class_planes,
)
from gan_jax.parallel.mesh import make_parallel

DRAW = np.random.default_rng(0)
IMAGES = jnp.asarray(DRAW.uniform(-1, 1, (3, 16, 16, 1)), jnp.float32)
LABELS = jnp.array([0, 2, 2])


def discriminator(conditional: str, **more: Any) -> dcgan.Discriminator:
    return dcgan.Discriminator(4, 3, "none", Head(conditional, embedding=6, **more))


@pytest.mark.parametrize("conditional", [c for c in CONDITIONALS if c != "semi_supervised"])
def test_what_each_conditioning_says(conditional: str) -> None:
    net = discriminator(conditional, linear=(("rotation", 4),))
    variables = net.init(jax.random.key(0), IMAGES, LABELS, train=False)
    # Moved: at their initial values the heads say next to nothing.
    variables = jax.tree.map(lambda x: x + 0.1 * DRAW.normal(size=x.shape), variables)
    said = net.apply(variables, IMAGES, LABELS, train=False, method="outputs")
    logits = net.apply(variables, IMAGES, LABELS, train=False)
    np.testing.assert_array_equal(said.logits, logits)
    other = net.apply(variables, IMAGES, (LABELS + 1) % 3, train=False)
    given = conditional in ("concat", "projection")
    assert (bool((abs(other - logits) > 1e-4).all())) == given, "is the class seen by the logit?"
    shapes = {name: x.shape for name, x in said.heads.items()}
    expected = {
        "classifier": {"class": (3, 3)},
        "contrastive": {"embedding": (3, 6), "proxy": (3, 6)},
        "d2d_ce": {"embedding": (3, 6), "proxy": (3, 6)},
    }.get(conditional, {})
    assert shapes == {"rotation": (3, 4), **expected}
    dense = variables["params"]["rotation"]
    np.testing.assert_allclose(
        said.heads["rotation"], said.features @ dense["kernel"] + dense["bias"], rtol=1e-4
    )
    if "proxy" in said.heads:
        np.testing.assert_array_equal(
            said.heads["proxy"], variables["params"]["proxy"]["embedding"][LABELS]
        )


def test_a_semi_supervised_discriminator_says_k_classes_and_generated() -> None:
    """D(x) = Z / (Z + 1) with Z the sum of exp(class logits) (arXiv:1606.03498, section 5)."""
    net = dcgan.Discriminator(4, 0, "none", Head("semi_supervised", semi_supervised=3))
    variables = net.init(jax.random.key(0), IMAGES, train=False)
    variables = jax.tree.map(lambda x: x + 0.1 * DRAW.normal(size=x.shape), variables)
    said = net.apply(variables, IMAGES, train=False, method="outputs")
    assert "logits" not in variables["params"] and said.heads["class"].shape == (3, 3)
    with_generated = jnp.pad(said.heads["class"], ((0, 0), (0, 1)))
    generated = jax.nn.softmax(with_generated)[:, 3]
    np.testing.assert_allclose(jax.nn.sigmoid(said.logits), 1 - generated, rtol=1e-4)


def test_planes_are_the_class() -> None:
    planes = np.asarray(with_class_planes(IMAGES, LABELS, num_classes=3, head=Head("concat")))
    np.testing.assert_array_equal(planes[..., :1], IMAGES)
    np.testing.assert_array_equal(planes[1, ..., 1:], np.broadcast_to([0, 0, 1], (16, 16, 3)))
    for num_classes, conditional in ((0, "concat"), (3, "projection")):
        seen = with_class_planes(IMAGES, LABELS, num_classes=num_classes, head=Head(conditional))
        np.testing.assert_array_equal(seen, IMAGES)


def test_minibatch_discrimination_by_definition() -> None:
    layer = MinibatchDiscrimination(kernels=2, dims=3)
    features = DRAW.normal(size=(4, 5)).astype(np.float32)
    variables = layer.init(jax.random.key(0), features)
    matrix = np.einsum("bf,fkd->bkd", features, variables["params"]["tensor"])
    expected = np.zeros((4, 2))
    for i in range(4):
        for k in range(2):
            expected[i, k] = sum(np.exp(-abs(matrix[i, k] - matrix[j, k]).sum()) for j in range(4))
    made = layer.apply(variables, features)
    np.testing.assert_array_equal(made[:, :5], features)
    np.testing.assert_allclose(made[:, 5:], expected, rtol=1e-4)


def test_a_minibatch_is_that_of_all_devices() -> None:
    layer = MinibatchDiscrimination(kernels=2, dims=3)
    features = DRAW.normal(size=(1, 8, 5)).astype(np.float32)
    variables = layer.init(jax.random.key(0), features[0])
    loss = lambda v, x: jnp.square(layer.apply(v, x)).mean()  # noqa: E731

    def step(phase: Phase, state: Any, batch: Any, key: jax.Array) -> Any:
        value, slope = jax.value_and_grad(loss)(state, batch["x"][0])
        return state, {"value": value, "slope": slope["params"]["tensor"][0, 0, 0]}

    parallel = make_parallel("jit", 8)
    batch = parallel.place({"x": features}, axis=1)
    start = parallel.replicate(lambda: jax.tree.map(jnp.copy, variables))
    _, got = parallel.compile_step(step)(Phase(), start, batch, jax.random.key(0))
    value, slope = jax.value_and_grad(loss)(variables, features[0])
    assert float(got["value"]) == pytest.approx(float(value), rel=1e-5)
    expected = float(slope["params"]["tensor"][0, 0, 0])
    assert float(got["slope"]) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("conditional", GEN_CONDITIONALS)
@pytest.mark.parametrize("family", [dcgan, resnet_gan])
def test_every_generator_uses_the_class_and_the_latents(family: Any, conditional: str) -> None:
    net = family.Generator((16, 16, 1), 4, 3, conditional)
    latents = jnp.asarray(DRAW.normal(size=(3, 5)), jnp.float32)
    variables = net.init(jax.random.key(0), latents, LABELS, train=False)
    variables = jax.tree.map(lambda x: x + 0.1 * DRAW.normal(size=x.shape), variables)
    made = net.apply(variables, latents, LABELS, train=True, mutable=["batch_stats"])[0]
    for given in ((latents + 1, LABELS), (latents, (LABELS + 1) % 3)):
        other = net.apply(variables, *given, train=True, mutable=["batch_stats"])[0]
        assert made.shape == (3, 16, 16, 1) and float(abs(other - made).max()) > 1e-3


def test_self_modulation_by_definition() -> None:
    layer = SelfModulation()
    x = jnp.asarray(DRAW.normal(2, 3, (5, 4, 4, 3)), jnp.float32)
    given = jnp.asarray(DRAW.normal(size=(5, 7)), jnp.float32)
    variables = layer.init(jax.random.key(0), x, given, train=False)
    made, _ = layer.apply(variables, x, given, train=True, mutable=["batch_stats"])
    params = variables["params"]
    dense = lambda x, name: x @ params[name]["kernel"] + params[name]["bias"]  # noqa: E731
    hidden = np.maximum(dense(given, "hidden"), 0)
    normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    scale, bias = (dense(hidden, name)[:, None, None] for name in ("scale", "bias"))
    np.testing.assert_allclose(made, normal * (1 + scale) + bias, rtol=1e-3, atol=1e-4)


def test_virtual_batch_norm_by_definition() -> None:
    """The reference is normalised by itself, each other image by the reference and itself."""
    x = DRAW.normal(2, 3, (6, 3, 2, 5)).astype(np.float32)
    layer = VirtualBatchNorm(4)
    made = layer.apply(layer.init(jax.random.key(0), x), x)
    mean, var = x[:4].mean((0, 1, 2)), x[:4].var((0, 1, 2))
    np.testing.assert_allclose(made[:4], (x[:4] - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)
    for i in (4, 5):
        both = np.concatenate([x[:4], x[i : i + 1]])
        expected = (x[i] - both.mean((0, 1, 2))) / np.sqrt(both.var((0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(made[i], expected, rtol=1e-4, atol=1e-5)


def test_a_generator_with_a_reference_batch_makes_each_image_alone() -> None:
    net = dcgan.Generator((16, 16, 1), 4, 3, reference=5)
    latents = jnp.asarray(DRAW.normal(size=(3, 6)), jnp.float32)
    variables = net.init(jax.random.key(0), latents, LABELS, train=False)
    assert variables["reference"]["reference"]["latents"].shape == (5, 6)
    apply = jax.jit(lambda z, y: net.apply(variables, z, y, train=True))
    made = apply(latents, LABELS)
    assert made.shape == (3, 16, 16, 1)
    np.testing.assert_allclose(made[1:2], apply(latents[1:2], LABELS[1:2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("convolutional", [False, True])
def test_the_first_gans(convolutional: bool) -> None:
    """The MLP for MNIST has the parameters of the paper's code, and maxout its largest piece."""
    shape = (28, 28, 1) if not convolutional else (16, 24, 3)
    gen = mlp_gan.Generator(shape, convolutional=convolutional)
    disc = mlp_gan.Discriminator(convolutional=convolutional)
    images, variables = gen.init_with_output(jax.random.key(0), jnp.ones((2, 100)), train=False)
    assert images.shape == (2, *shape) and float(abs(images).max()) <= 1
    judged, said = disc.init_with_output(jax.random.key(0), images, train=False)
    assert judged.shape == (2,)
    if not convolutional:
        count = lambda v: sum(x.size for x in jax.tree.leaves(v))  # noqa: E731
        # 100 x 1200 + 1200 x 1200 + 1200 x 784 with biases; 784 x 1200 + 240 x 1200 + 240 x 1.
        assert count(variables) == 101 * 1200 + 1201 * 1200 + 1201 * 784
        assert count(said) == 785 * 1200 + 241 * 1200 + 241
    np.testing.assert_array_equal(
        mlp_gan.maxout(jnp.array([[1.0, 3, 2, -5, -4, -6]]), 3), [[3, -4]]
    )
