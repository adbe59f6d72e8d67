"""SRResNet, the generator of SRGAN, in the form that its successors train."""

from __future__ import annotations

import functools
from typing import ClassVar

import flax.linen as nn
import jax

from gan_jax.models.restoration.convolution import SMALL_INIT, conv
from gan_jax.models.restoration.upscale import add_skip, skip_reach, steps_reach, upscaling_steps
from gan_jax.ops.pixel_shuffle import pixel_shuffle
from gan_jax.parallel.precision import block_output


class SRResNet(nn.Module):
    """Predict the difference from the enlarged input by residual blocks and pixel shuffle.

    The generator of Ledig et al. 2016 (arXiv:1609.04802, figure 4) as "MSRResNet" in the code of
    ESRGAN: 16 blocks of 64 features, LeakyReLU 0.1 outside of them, 1,517,571 parameters for x4.

    Deviations from the paper, as in that code: no BatchNorm, LeakyReLU in place of PReLU, 3x3
    convolutions in place of 9x9 at both ends, one more convolution before the last, no skip around
    the blocks, and the skip of the input, enlarged by bilinear interpolation. The paper's x4 has a
    tanh at the end; this one none.

    Attributes:
      features: channels of every layer within.
      outputs: channels of the output image.
      scale: factor by which both sides grow: 1, 2, 3, 4 or 8.
      blocks: number of residual blocks.
      skip: "bilinear", "bicubic" or "none"; with a skip the input must have `outputs` channels.
    """

    features: int = 64
    outputs: int = 3
    scale: int = 4
    blocks: int = 16
    skip: str = "bilinear"

    multiple: ClassVar[int] = 1  # divisor of the input's sides

    @property
    def context(self) -> int:
        """Radius of the input pixels that an output pixel depends on."""
        reach = 1 + 2 * self.blocks + steps_reach(upscaling_steps(self.scale), 2, before=1)
        return max(reach, skip_reach(self.skip, self.scale))

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Enlarge images.

        Args:
          x: [B, H, W, C] in [-1, 1].
          train: unused; there are no statistics.

        Returns:
          [B, scale * H, scale * W, outputs], not clipped.

        Raises:
          UserError: a scale or a skip that is not possible.
        """
        steps, layer = upscaling_steps(self.scale), functools.partial(conv, init=SMALL_INIT)
        h = block_output(nn.leaky_relu(layer(self.features, "first")(x), 0.1))
        for i in range(self.blocks):
            branch = nn.relu(layer(self.features, f"block{i}_a")(h))
            h = block_output(h + layer(self.features, f"block{i}_b")(branch))
        for i, factor in enumerate(steps):
            h = layer(factor**2 * self.features, f"upscale{i}")(h)
            h = block_output(nn.leaky_relu(pixel_shuffle(h, factor), 0.1))
        h = block_output(nn.leaky_relu(layer(self.features, "full")(h), 0.1))
        return add_skip(layer(self.outputs, "last")(h), x, skip=self.skip)
