"""SRCNN, EDSR, SRResNet, RRDBNet, DnCNN: published counts, exact context, peers in PyTorch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.models.restoration.dncnn import DnCNN
from gan_jax.models.restoration.edsr import EDSR
from gan_jax.models.restoration.rrdb import RRDBNet
from gan_jax.models.restoration.srcnn import SRCNN
from gan_jax.models.restoration.srresnet import SRResNet
from gan_jax.models.restoration.upscale import upscaling_steps
from gan_jax.ops.pixel_shuffle import pixel_shuffle
from gan_jax.parallel.precision import training_apply


def abstract(model: nn.Module, shape: tuple[int, ...]):
    return jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros(shape), train=False)
    )


def drawn(model: nn.Module, shape: tuple[int, ...], *, positive: bool = False):
    """Return weights that are far from 0, so that no part of the network is hidden."""
    rng = np.random.default_rng(0)
    _, variables = abstract(model, shape)

    def draw(x) -> np.ndarray:
        values = rng.normal(size=x.shape) / np.sqrt(max(np.prod(x.shape[:-1]), 1))
        return (np.abs(values) + 0.01 if positive or x.ndim == 1 else values).astype(np.float32)

    return jax.tree.map(draw, variables)


COUNTS = [
    (SRCNN(outputs=1), 1, 57_281),
    (SRCNN(outputs=1, kernels=(9, 1, 5)), 1, 8_129),
    (EDSR(), 3, 1_369_859),
    (EDSR(scale=3), 3, 1_554_499),
    (EDSR(scale=4), 3, 1_517_571),
    (EDSR(features=32, blocks=4), 3, 121_987),
    (EDSR(features=256, blocks=32, residual_scale=0.1), 3, 40_729_603),  # "43 M" in the paper, x2
    (SRResNet(), 3, 1_517_571),
    (RRDBNet(), 3, 16_697_987),
    (DnCNN(outputs=1), 1, 556_097),
    # No scale and bias of 15 norms, but a bias of 15 convolutions.
    (DnCNN(outputs=1, norm="none"), 1, 556_097 - 15 * 64),
]


@pytest.mark.parametrize(("model", "channels", "count"), COUNTS)
def test_parameter_counts_are_the_published_ones(model, channels, count):
    image, variables = abstract(model, (2, 12, 10, channels))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count
    assert image.shape == (2, 12 * model.scale, 10 * model.scale, model.outputs)
    assert model.multiple == 1


CONTEXTS = [
    *(SRCNN(features=2, middle=2, outputs=1, scale=scale) for scale in (1, 2, 3, 4)),
    *(EDSR(features=2, blocks=1, outputs=1, scale=scale) for scale in (1, 2, 3, 4)),
    EDSR(features=2, blocks=0, outputs=1, skip="bicubic"),
    SRResNet(features=2, blocks=1, outputs=1),
    SRResNet(features=2, blocks=2, outputs=1, scale=2),
    *(RRDBNet(features=2, growth=1, blocks=1, outputs=1, scale=scale) for scale in (2, 4)),
    DnCNN(features=2, layers=4, outputs=1),
]


@pytest.mark.parametrize("model", CONTEXTS, ids=lambda m: f"{type(m).__name__}-x{m.scale}")
def test_context_is_that_of_the_gradient(model):
    """The pixels of one input pixel depend on a square of pixels around it, and on all of it."""
    side = 2 * (model.context + 3) + 1
    x, middle = np.full((1, side, side, 1), 0.1, np.float32), side // 2
    variables = drawn(model, x.shape, positive=True)

    def block(x):
        whole = model.apply(variables, x, train=False)[0]
        first, last = middle * model.scale, (middle + 1) * model.scale
        return whole[first:last, first:last].sum()

    found = np.abs(jax.jit(jax.grad(block))(x)[0, :, :, 0])
    filtered = isinstance(model, SRCNN) or getattr(model, "skip", "none") != "none"
    # The zeros of a filter are so up to rounding.
    touched = found > (1e-13 * found.max() if filtered else 0)
    inside = np.abs(np.arange(side) - middle) <= model.context
    np.testing.assert_array_equal(touched.any(1), inside)
    np.testing.assert_array_equal(touched.any(0), inside)


@pytest.mark.parametrize(
    "model", [EDSR(features=4, blocks=1, skip="bilinear"), DnCNN(features=4, layers=3)]
)
def test_bfloat16_is_near_float32(model):
    """The filter of the skip is applied in float32, and its result returns to bfloat16."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 9, 3)).astype(np.float32)
    variables = drawn(model, x.shape)
    apply = training_apply(model, precision="bfloat16", remat=True)
    found = jax.jit(lambda v, x: apply(v, x, train=False))(variables, x)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, model.apply(variables, x, train=False), atol=0.1)


def test_what_is_not_possible_says_so():
    with pytest.raises(UserError, match=r"model.scale=5: must be one of 1, 2, 3, 4, 8"):
        abstract(EDSR(scale=5), (1, 8, 8, 3))
    with pytest.raises(UserError, match=r"model.scale=3: must be one of 1, 2, 4, 8"):
        abstract(RRDBNet(scale=3), (1, 8, 8, 3))
    with pytest.raises(UserError, match=r"model.scale=0: must be in 1 to 8"):
        abstract(SRCNN(scale=0), (1, 8, 8, 3))
    with pytest.raises(UserError, match=r"model.kernels=\(9, 4, 5\): must be three odd sides"):
        abstract(SRCNN(kernels=(9, 4, 5)), (1, 8, 8, 3))
    with pytest.raises(UserError, match=r"an input of 1 channels .* model.skip=none"):
        abstract(SRResNet(blocks=0), (1, 8, 8, 1))
    with pytest.raises(UserError, match="did you mean 'bicubic'"):
        abstract(EDSR(skip="bicubik"), (1, 8, 8, 3))
    with pytest.raises(UserError, match="an input of 1 channels for an output of 3"):
        abstract(DnCNN(), (1, 8, 8, 1))
    with pytest.raises(UserError, match=r"model.layers=2: must be at least 3"):
        abstract(DnCNN(layers=2), (1, 8, 8, 3))
    assert upscaling_steps(8) == (2, 2, 2)


def test_noise_is_subtracted():
    """Zero weights in the last layer predict no noise."""
    model = DnCNN(features=4, layers=3)
    x = np.random.default_rng(0).normal(0, 3, (1, 8, 8, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), x, train=False)
    last = {"kernel": jnp.zeros((3, 3, 4, 3)), "bias": jnp.full(3, 0.25)}
    variables = {**variables, "params": {**variables["params"], "last": last}}
    np.testing.assert_array_equal(model.apply(variables, x, train=False), x - 0.25)


# --- against PyTorch ---


def to_torch(torch, x):
    """[B, H, W, C] -> [B, C, H, W]."""
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))


def from_torch(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


def convolver(torch, params):
    """Return (x, name) -> its convolution in PyTorch with our weights."""

    def conv(x, name):
        kernel = torch.tensor(params[name]["kernel"].transpose(3, 2, 0, 1))
        bias = params[name].get("bias")
        given = None if bias is None else torch.tensor(bias)
        return torch.nn.functional.conv2d(x, kernel, given, padding=kernel.shape[-1] // 2)

    return conv


def peer_edsr(torch, conv, x, model):
    functional = torch.nn.functional
    start = h = conv(x, "first")
    for i in range(model.blocks):
        branch = conv(functional.relu(conv(h, f"block{i}_a")), f"block{i}_b")
        h = h + model.residual_scale * branch
    h = start + conv(h, "body")
    for i, factor in enumerate(upscaling_steps(model.scale)):
        h = functional.pixel_shuffle(conv(h, f"upscale{i}"), factor)
    return conv(h, "last")


def peer_srresnet(torch, conv, x, model):
    functional = torch.nn.functional
    h = functional.leaky_relu(conv(x, "first"), 0.1)
    for i in range(model.blocks):
        h = h + conv(functional.relu(conv(h, f"block{i}_a")), f"block{i}_b")
    for i, factor in enumerate(upscaling_steps(model.scale)):
        h = functional.pixel_shuffle(conv(h, f"upscale{i}"), factor)
        h = functional.leaky_relu(h, 0.1)
    y = conv(functional.leaky_relu(conv(h, "full"), 0.1), "last")
    return y + functional.interpolate(x, scale_factor=model.scale, mode="bilinear")


def peer_rrdb(torch, conv, x, model):
    rectified = lambda h: torch.nn.functional.leaky_relu(h, 0.2)  # noqa: E731
    start = h = conv(x, "first")
    for i in range(model.blocks):
        branch = h
        for j in range(3):
            parts = [branch]
            for k in range(5):
                y = conv(torch.cat(parts, 1), f"block{i}_dense{j}_layer{k}")
                parts.append(rectified(y) if k < 4 else y)
            branch = branch + 0.2 * parts[-1]
        h = h + 0.2 * branch
    h = start + conv(h, "body")
    for i in range(len(upscaling_steps(model.scale))):
        wide = torch.nn.functional.interpolate(h, scale_factor=2, mode="nearest")
        h = rectified(conv(wide, f"upscale{i}"))
    return conv(rectified(conv(h, "full")), "last")


PEERS = [
    (EDSR(features=8, blocks=2, scale=3, residual_scale=0.5), peer_edsr),
    (EDSR(features=8, blocks=1, scale=4), peer_edsr),
    (SRResNet(features=8, blocks=1, scale=4), peer_srresnet),
    (RRDBNet(features=8, growth=4, blocks=1, scale=4), peer_rrdb),
]


@pytest.mark.parametrize(("model", "peer"), PEERS)
def test_networks_equal_their_peers(model, peer):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
    x = np.random.default_rng(1).uniform(-1, 1, (2, 9, 7, 3)).astype(np.float32)
    variables = drawn(model, x.shape)
    expected = peer(torch, convolver(torch, variables["params"]), to_torch(torch, x), model)
    found = jax.jit(lambda x: model.apply(variables, x, train=False))(x)
    np.testing.assert_allclose(found, from_torch(expected), rtol=1e-4, atol=1e-5)


def test_pixel_shuffle_has_pytorchs_order():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
    x = np.arange(2 * 3 * 4 * 18, dtype=np.float32).reshape(2, 3, 4, 18)
    expected = torch.nn.functional.pixel_shuffle(to_torch(torch, x), 3)
    np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(x), 3), from_torch(expected))
