"""SRCNN, the first convolutional network for super-resolution."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.layers import Conv
from gan_jax.ops.resample import resample, upscaling_reach
from gan_jax.parallel.precision import block_output

MAX_SCALE = 8


class SRCNN(nn.Module):
    """Sharpen the bicubic enlargement by three convolutions (Dong et al. 2014, arXiv:1501.00092).

    9-5-5 with 64 and 32 channels and ReLU has 57,281 parameters for one channel, 9-1-5 has 8,129.

    Deviations: the network enlarges its input itself, with Pillow's bicubic filter. Convolutions
    are padded with zeros, so that no border is lost (the paper trains without padding). Weights
    start with a variance of 1 / fan in, for Adam; the paper's start with a standard deviation of
    0.001, for SGD with a smaller rate in the last layer. Any channels; the paper's main results are
    of the luma channel alone.

    Attributes:
      features: channels of the first layer.
      outputs: channels of the output image.
      scale: factor by which both sides grow; 1 takes an image that has its final size.
      middle: channels of the second layer.
      kernels: the sides of the three kernels, odd.
    """

    features: int = 64
    outputs: int = 3
    scale: int = 2
    middle: int = 32
    kernels: tuple[int, int, int] = (9, 5, 5)

    multiple: ClassVar[int] = 1  # divisor of the input's sides

    @property
    def context(self) -> int:
        """Radius of the input pixels that an output pixel depends on."""
        margin = sum(side // 2 for side in self.kernels)
        return upscaling_reach(self.scale, "bicubic", margin)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Enlarge images.

        Args:
          x: [B, H, W, C] in [-1, 1].
          train: unused; there are no statistics.

        Returns:
          [B, scale * H, scale * W, outputs], not clipped.

        Raises:
          UserError: a scale or kernels that are not possible.
        """
        if not 1 <= self.scale <= MAX_SCALE:
            raise UserError(f"model.scale={self.scale}: must be in 1 to {MAX_SCALE}")
        if len(self.kernels) != 3 or any(side < 1 or side % 2 == 0 for side in self.kernels):
            raise UserError(
                f"model.kernels={tuple(self.kernels)}: must be three odd sides, such as (9, 5, 5)"
            )
        first, second, third = self.kernels
        size = (self.scale * x.shape[1], self.scale * x.shape[2])
        x = resample(x, size, "bicubic").astype(x.dtype)
        x = block_output(nn.relu(Conv(self.features, first, name="patches")(x)))
        x = block_output(nn.relu(Conv(self.middle, second, name="mapping")(x)))
        return Conv(self.outputs, third, name="reconstruction")(x)
