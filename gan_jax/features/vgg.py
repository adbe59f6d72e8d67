"""The convolutional parts of VGG-16 and VGG-19, for LPIPS and perceptual losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gan_jax.core.errors import UserError
from gan_jax.features.weights import fill, read_weights
from gan_jax.models.blocks.layers import Conv, max_pool

SMALLEST = 16  # [px]: there are four poolings before the last convolutions

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, pixels in [0, 1]
_CHANNELS = (64, 128, 256, 512, 512)  # of the blocks


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman 2014, arXiv:1409.1556, table 1, column D) up to relu5_3.

    Parameters have torchvision's names, "features.0" to "features.28".
    """

    counts: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)  # convolutions of the blocks

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the results, in the order in which they are computed."""
        places = [f"{i}_{j}" for i, count in enumerate(self.counts, 1) for j in range(1, count + 1)]
        return tuple(f"{kind}{place}" for place in places for kind in ("conv", "relu"))

    @nn.compact
    def __call__(self, images: Array) -> dict[str, Array]:
        """Return the results of every convolution, before and after its ReLU.

        Args:
          images: [B, H, W, 3] in [-1, 1], at least 16 px; normalised here as torchvision does.

        Returns:
          "relu1_1", "relu1_2" [B, H, W, 64], "relu2_1" ... [H/2, 128], "relu3_1" ... [H/4, 256],
          "relu4_1" ... [H/8, 512], to "relu5_3" [H/16, 512] (sizes are rounded down); "conv1_1" ...
          likewise, before the ReLU. Under `jit`, entries that the caller does not use are not
          computed.
        """
        x = ((images + 1) / 2 - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)
        taps, index = {}, 0
        for block, (features, count) in enumerate(zip(_CHANNELS, self.counts, strict=True), 1):
            if block > 1:
                x = max_pool(x)
                index += 1
            for i in range(1, count + 1):
                x = Conv(features, padding=1, name=f"features.{index}")(x)
                taps[f"conv{block}_{i}"] = x
                x = nn.relu(x)
                taps[f"relu{block}_{i}"] = x
                index += 2
        return taps


class VGG19(VGG16):
    """VGG-19 (column E of the same table) up to relu5_4, "features.0" to "features.34"."""

    counts = (2, 2, 4, 4, 4)


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
    return _filled(VGG16(), read_weights(path), path)


def read_vgg(path: Path) -> tuple[VGG16, Any]:
    """Return the network whose weights a file with torchvision's names holds, and its variables.

    Raises:
      UserError: for a missing file, or weights of another network than VGG-16 and VGG-19.
    """
    weights = read_weights(path)
    network = VGG19() if "features.34.weight" in weights else VGG16()
    return network, _filled(network, weights, path)


def _filled(network: VGG16, weights: Mapping[str, np.ndarray], path: Path) -> Any:
    images = jax.ShapeDtypeStruct((1, SMALLEST, SMALLEST, 3), jnp.float32)
    return fill(jax.eval_shape(network.init, jax.random.key(0), images), weights, path)
