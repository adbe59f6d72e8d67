"""Perceptual distances: LPIPS, and an uncalibrated version for the activations of any network."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gan_jax.core.errors import UserError
from gan_jax.core.metric_names import MetricName
from gan_jax.features.efficientnet import EfficientNetLite0, read_efficientnet
from gan_jax.features.vgg import SMALLEST, VGG16, read_vgg16
from gan_jax.features.weights import mark, read_weights

VGG_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
VGG_SHA256 = "397923af"  # the digits in the name of torchvision's file
HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
EFFICIENTNET_LAYERS = ("stem", "stage2", "stage3", "stage5", "stage7")  # last layer at each size


@dataclasses.dataclass(frozen=True, eq=False)
class Distance:
    """A distance between images.

    Attributes:
      name: metric name with network and calibration as its protocol.
      variables: pytree of arrays, the first argument of `apply`.
      apply: (variables, prediction, target) -> [B] float32, not negative, 0 for equal images;
        images [B, H, W, C] in [-1, 1] with C 1 (repeated) or 3. Differentiable.
    """

    name: str
    variables: Any
    apply: Callable[[Any, Array, Array], Array]


def activation_distance(
    *,
    prediction: Mapping[str, Array],
    target: Mapping[str, Array],
    heads: Mapping[str, Array] | None = None,
) -> Array:
    """Compare activations that are normalised to unit length at every position.

    Zhang et al. 2018, arXiv:1801.03924, equation 1: the squared difference, weighted by channel,
    summed over channels, averaged over positions, summed over layers. Deviation: where all channels
    are 0, as after a ReLU, the gradient is 0; in the authors' program it is 0 / 0.

    Args:
      prediction: activations [B, H, W, C] by layer; shapes may differ between layers.
      target: the same layers and shapes.
      heads: weights [C] by layer, calibrated for the network. None weights every channel by 1: a
        distance, but *not* LPIPS, and only comparable with itself.

    Returns:
      [B] float32, summed over layers.

    Raises:
      ValueError: for different layers.
    """
    names = set(prediction)
    if names != set(target) or (heads is not None and names != set(heads)):
        given = [sorted(x) for x in (prediction, target, heads or prediction)]
        raise ValueError(f"prediction, target and heads have unlike layers: {given}")
    total = jnp.zeros(())
    for name, activation in prediction.items():
        squares = jnp.square(_unit(activation) - _unit(target[name]))
        if heads is not None:
            squares = squares * heads[name]
        total = total + squares.sum(-1).mean((1, 2))
    return total


def _unit(x: Array) -> Array:
    x = x.astype(jnp.float32)
    squares = jnp.square(x).sum(-1, keepdims=True)
    zero = squares == 0  # where the root is not differentiable
    return x / jnp.where(zero, 1.0, jnp.sqrt(jnp.where(zero, 1.0, squares)) + 1e-10)


def make_lpips(*, vgg: Path | None, heads: Path | None = None) -> Distance:
    """Return LPIPS 0.1 with VGG-16, equal to the package `lpips` (net="vgg").

    Its name is "lpips/vgg16/v0.1" with the published files. For any other file, the first eight
    digits of its SHA-256 follow the part that it replaces, as in "lpips/vgg16@01234567/v0.1".

    Args:
      vgg: VGG-16 weights file with torchvision's names.
      heads: heads file with the package's names ("lin0.model.1.weight" ... "lin4..."). None for the
        file in the package `lpips`, if installed; the package is not imported.

    Raises:
      UserError: for missing weights, or weights of another network.
    """
    network = read_vgg16(vgg)
    heads = heads or _installed_heads()
    variables = dict(network=network, heads=_read_heads(heads))
    network_name = f"vgg16{mark(vgg, VGG_SHA256)}"
    name = MetricName("lpips", protocol=(network_name, f"v0.1{mark(heads, HEADS_SHA256)}"))

    def apply(variables: Any, prediction: Array, target: Array) -> Array:
        if min(prediction.shape[1:3]) < SMALLEST:
            height, width = prediction.shape[1:3]
            raise UserError(
                f"lpips: images of {height}x{width} px, at least {SMALLEST}x{SMALLEST} needed"
            )
        return _compare(VGG16(), VGG_LAYERS, variables, prediction, target)

    return Distance(str(name), variables, apply)


def make_efficientnet_distance(path: Path | None = None) -> Distance:
    """Return an uncalibrated distance on EfficientNet-Lite0's last layer at each size.

    For perceptual distances without VGG-16's weights. It is *not* LPIPS: it is not calibrated on
    human judgements, see `activation_distance`.

    Args:
      path: as in `read_efficientnet`.
    """

    def apply(variables: Any, prediction: Array, target: Array) -> Array:
        network = EfficientNetLite0()
        return _compare(network, EFFICIENTNET_LAYERS, variables, prediction, target)

    variables = dict(network=read_efficientnet(path), heads=None)
    return Distance("activations/efficientnet_lite0", variables, apply)


def _compare(
    network: VGG16 | EfficientNetLite0,
    layers: tuple[str, ...],
    variables: Any,
    prediction: Array,
    target: Array,
) -> Array:
    if prediction.shape != target.shape or prediction.shape[-1] not in (1, 3):
        raise ValueError(
            f"prediction {prediction.shape} and target {target.shape} must agree, with 1 or 3"
            " channels"
        )
    batch = len(prediction)
    images = jnp.concatenate([prediction, target])
    images = jnp.broadcast_to(images, (*images.shape[:3], 3))
    with jax.default_matmul_precision("highest"):  # else accelerators round to bfloat16
        taps = network.apply(variables["network"], images)
    return activation_distance(
        prediction={name: taps[name][:batch] for name in layers},
        target={name: taps[name][batch:] for name in layers},
        heads=variables["heads"],
    )


def _installed_heads() -> Path:
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        raise UserError(
            "lpips: needs the file of its heads, weights/v0.1/vgg.pth of the package lpips: give it"
            " as --heads=FILE, or pip install lpips"
        )
    return Path(spec.origin).parent / "weights/v0.1/vgg.pth"


def _read_heads(path: Path) -> dict[str, np.ndarray]:
    weights, heads = read_weights(path), {}
    channels = (64, 128, 256, 512, 512)
    for i, (layer, count) in enumerate(zip(VGG_LAYERS, channels, strict=True)):
        name = f"lin{i}.model.1.weight"
        if name not in weights or weights[name].shape != (1, count, 1, 1):
            raise UserError(f"{path}: holds no {name!r} of {count} numbers: no heads for VGG-16")
        heads[layer] = weights[name].reshape(count).astype(np.float32)
    return heads
