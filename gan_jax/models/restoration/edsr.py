"""EDSR: residual blocks without normalisation, for super-resolution."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from gan_jax.models.restoration.convolution import conv
from gan_jax.models.restoration.upscale import add_skip, skip_reach, steps_reach, upscaling_steps
from gan_jax.ops.pixel_shuffle import pixel_shuffle
from gan_jax.parallel.precision import block_output


class EDSR(nn.Module):
    """Residual blocks at the input's size, then pixel shuffle (Lim et al. 2017, arXiv:1707.02921).

    The default is the paper's baseline: 16 blocks of 64 features, 1,369,859 parameters for x2,
    1,554,499 for x3 and 1,517,571 for x4. The large EDSR has 32 blocks of 256 features and a
    residual scale of 0.1 (section 3.2).

    Deviations: the mean colour of the training images is not subtracted, because images are in
    [-1, 1] and not in [0, 255]: the constant is left to the biases. Biases start at 0.

    Attributes:
      features: channels of every layer within.
      outputs: channels of the output image.
      scale: factor by which both sides grow: 1, 2, 3, 4 or 8; 1 has no pixel shuffle.
      blocks: number of residual blocks.
      residual_scale: factor of each block's branch.
      skip: "none", as in the paper; "bilinear" or "bicubic" adds the output to the input enlarged
        by that filter, from which short trainings then start (as in VDSR, arXiv:1511.04587). The
        input must have `outputs` channels.
    """

    features: int = 64
    outputs: int = 3
    scale: int = 2
    blocks: int = 16
    residual_scale: float = 1.0
    skip: str = "none"

    multiple: ClassVar[int] = 1  # divisor of the input's sides

    @property
    def context(self) -> int:
        """Radius of the input pixels that an output pixel depends on."""
        reach = 2 + 2 * self.blocks + steps_reach(upscaling_steps(self.scale), 1, before=1)
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
        steps = upscaling_steps(self.scale)
        start = h = block_output(conv(self.features, "first")(x))
        for i in range(self.blocks):
            branch = nn.relu(conv(self.features, f"block{i}_a")(h))
            branch = conv(self.features, f"block{i}_b")(branch)
            h = block_output(h + self.residual_scale * branch)
        h = start + conv(self.features, "body")(h)
        for i, factor in enumerate(steps):
            h = conv(factor**2 * self.features, f"upscale{i}")(h)
            h = block_output(pixel_shuffle(h, factor))
        return add_skip(conv(self.outputs, "last")(h), x, skip=self.skip)
