"""The perceptual loss of SRGAN and ESRGAN: differences of activations, not normalised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jax import Array, lax
from jax import numpy as jnp

from gan_jax.core.errors import UserError, check_choice
from gan_jax.features.efficientnet import SHA256, TAPS, EfficientNetLite0, read_efficientnet
from gan_jax.features.lpips import VGG_SHA256 as VGG16_SHA256
from gan_jax.features.lpips import Distance
from gan_jax.features.vgg import SMALLEST, VGG19, read_vgg
from gan_jax.features.weights import mark
from gan_jax.objectives.perceptual import activation_l1

VGG19_SHA256 = "dcbb9e9d"  # the digits in the name of torchvision's file
# Ends of linear bottlenecks, at 1/4, 1/8 and 1/16 of the image's sides.
EFFICIENTNET_LAYERS = ("stage2", "stage3", "stage5")


def make_perceptual_loss(
    *, vgg: Path | None = None, layers: tuple[str, ...] = (), weights: Path | None = None
) -> Distance:
    """Return the mean absolute difference of activations before their activation function.

    ESRGAN (arXiv:1809.00219, section 3.2 and equation 3) takes VGG-19 before the last ReLU,
    "conv5_4". Without a file of VGG, which no package brings, the network is EfficientNet-Lite0 and
    the layers are ends of its blocks, which are linear (arXiv:1801.04381). Its activations are
    larger: 2 to 4 for a photograph enlarged by a filter.

    Args:
      vgg: file of VGG-19's or VGG-16's weights with torchvision's names.
      layers: entries of the network's result; () for "conv5_4" of VGG-19, "conv5_3" of VGG-16,
        and `EFFICIENTNET_LAYERS`.
      weights: of EfficientNet-Lite0, as in `read_efficientnet`.

    Returns:
      A distance with gradients in the prediction only, in the precision of the caller.

    Raises:
      UserError: for missing weights, an unknown layer, or images below 16 px for VGG.
    """
    if vgg:
        network, variables = read_vgg(vgg)
        published = "vgg19", VGG19_SHA256
        if not isinstance(network, VGG19):
            published = "vgg16", VGG16_SHA256
        name = published[0] + mark(vgg, published[1])
        usual, allowed = network.taps[-2:-1], network.taps
    else:
        network, variables = EfficientNetLite0(), read_efficientnet(weights)
        name = "efficientnet_lite0" + (mark(weights, SHA256) if weights else "")
        usual, allowed = EFFICIENTNET_LAYERS, TAPS
    layers = layers or usual
    for layer in layers:
        check_choice("perceptual loss: layer", layer, allowed)

    def apply(variables: Any, prediction: Array, target: Array) -> Array:
        height, width = prediction.shape[1:3]
        if vgg and min(height, width) < SMALLEST:
            raise UserError(
                f"perceptual loss: images of {height}x{width} px, at least {SMALLEST}x{SMALLEST}"
                " needed for VGG"
            )

        def activations(images: Array) -> dict[str, Array]:
            taps = network.apply(variables, jnp.broadcast_to(images, (*images.shape[:3], 3)))
            return {layer: taps[layer] for layer in layers}

        # One after the other: the target needs no backward pass.
        return activation_l1(
            prediction=activations(prediction), target=activations(lax.stop_gradient(target))
        )

    return Distance(f"activations_l1/{name}/{'+'.join(layers)}", variables, apply)
