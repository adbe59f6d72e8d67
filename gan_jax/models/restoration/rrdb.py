"""RRDBNet, the generator of ESRGAN: dense blocks within residual blocks."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.blocks.layers import upsample
from gan_jax.models.restoration.convolution import SMALL_INIT, conv
from gan_jax.models.restoration.upscale import add_skip, skip_reach, steps_reach, upscaling_steps
from gan_jax.parallel.precision import block_output

_DENSE = 3  # dense blocks of a residual block
_LAYERS = 5  # convolutions of a dense block
_SCALES = (1, 2, 4, 8)


class RRDBNet(nn.Module):
    """Residual-in-residual dense blocks (Wang et al. 2018, arXiv:1809.00219, section 3.1).

    A residual block holds three dense blocks of five 3x3 convolutions with LeakyReLU 0.2; the
    branches of both kinds are added with a factor of 0.2. The default, with 23 blocks, has
    16,697,987 parameters; the input is enlarged by repeating pixels, each time followed by a
    convolution, as in the authors' code. Weights within dense blocks start at a tenth of He's.

    Attributes:
      features: channels between the blocks.
      outputs: channels of the output image.
      scale: factor by which both sides grow: 1, 2, 4 or 8.
      blocks: number of residual-in-residual dense blocks.
      growth: channels that each convolution of a dense block adds.
      residual_scale: factor of the branches.
      skip: "none", as in the paper; "bilinear" or "bicubic" as in `EDSR`.
    """

    features: int = 64
    outputs: int = 3
    scale: int = 4
    blocks: int = 23
    growth: int = 32
    residual_scale: float = 0.2
    skip: str = "none"

    multiple: ClassVar[int] = 1  # divisor of the input's sides

    @property
    def context(self) -> int:
        """Radius of the input pixels that an output pixel depends on."""
        steps = upscaling_steps(self.scale, _SCALES)
        reach = 2 + _DENSE * _LAYERS * self.blocks + steps_reach(steps, 2, within=1)
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
        steps = upscaling_steps(self.scale, _SCALES)
        start = h = block_output(conv(self.features, "first")(x))
        for i in range(self.blocks):
            branch = h
            for j in range(_DENSE):
                branch = block_output(self._dense(branch, f"block{i}_dense{j}"))
            h = block_output(h + self.residual_scale * branch)
        h = start + conv(self.features, "body")(h)
        for i in range(len(steps)):
            h = block_output(_rectified(conv(self.features, f"upscale{i}")(upsample(h))))
        h = block_output(_rectified(conv(self.features, "full")(h)))
        return add_skip(conv(self.outputs, "last")(h), x, skip=self.skip)

    def _dense(self, x: jax.Array, name: str) -> jax.Array:
        parts = [x]
        for i in range(_LAYERS):
            last = i == _LAYERS - 1
            features = self.features if last else self.growth
            layer = conv(features, f"{name}_layer{i}", SMALL_INIT)
            y = layer(jnp.concatenate(parts, -1))
            parts.append(y if last else _rectified(y))
        return x + self.residual_scale * parts[-1]


def _rectified(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, 0.2)
