"""The convolutional part of VGG-16, for LPIPS and perceptual losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.core.errors import UserError
from gan_jax.features.weights import fill, read_weights
from gan_jax.models.blocks.layers import Conv, max_pool

SMALLEST = 16  # [px]: there are four poolings before the last convolutions

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, pixels in [0, 1]
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, number of convolutions


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman 2014, arXiv:1409.1556, table 1, column D) up to relu5_3.

    Parameters have torchvision's names, "features.0" to "features.28".
    """

    @nn.compact
    def __call__(self, images: Array) -> dict[str, Array]:
        """Return the activations after every convolution's ReLU.

        Args:
          images: [B, H, W, 3] in [-1, 1], at least 16 px; normalised here as torchvision does.

        Returns:
          "relu1_1", "relu1_2" [B, H, W, 64], "relu2_1" ... [H/2, 128], "relu3_1" ... [H/4, 256],
          "relu4_1" ... [H/8, 512], to "relu5_3" [H/16, 512] (sizes are rounded down). Under `jit`,
          entries that the caller does not use are not computed.
        """
        x = ((images + 1) / 2 - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)
        taps, index = {}, 0
        for block, (features, count) in enumerate(_BLOCKS, 1):
            if block > 1:
                x = max_pool(x)
                index += 1
            for i in range(1, count + 1):
                x = nn.relu(Conv(features, padding=1, name=f"features.{index}")(x))
                taps[f"relu{block}_{i}"] = x
                index += 2
        return taps


def read_vgg16(path: Path | None) -> Any:
    """Return the variables of `VGG16` from a file with torchvision's names.

    Args:
      path: a file in any format of `read_weights`; None raises an error that names the file.

    Raises:
      UserError: for a missing file, or weights of another network.
    """
    if path is None:
        raise UserError(
            "vgg16: needs a file of weights: torchvision's vgg16-397923af.pth, or its tensors as"
            " .safetensors or .npz"
        )
    images = jax.ShapeDtypeStruct((1, SMALLEST, SMALLEST, 3), jnp.float32)
    template = jax.eval_shape(VGG16().init, jax.random.key(0), images)
    return fill(template, read_weights(path), path)
