"""The PatchGAN discriminator of pix2pix and of CycleGAN."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.inits import KERNEL_INIT, scale_init
from gan_jax.models.blocks.layers import Conv
from gan_jax.models.blocks.norm import BatchNorm, InstanceNorm
from gan_jax.parallel.precision import block_output

_MAX_FACTOR = 8


def receptive_field(layers: int) -> int:
    """Return the receptive field of one logit, its side in pixels: 34, 70, 142 for 2, 3, 4."""
    side = 1 + 3 + 3
    for _ in range(layers):
        side = 2 * side + 2
    return side


class PatchGAN(nn.Module):
    """Classify every patch of an image as real or generated (arXiv:1611.07004, 6.1.2).

    C64-C128-C256-C512 and a convolution to one logit; 4x4 with padding 1, the last two with stride
    1, LeakyReLU 0.2, a norm on all but the first and last. `layers` counts the convolutions of
    stride 2: three make the 70x70 patches of the paper. Strides, biases and parameter counts
    (2.769 M with BatchNorm, of pairs; 2.765 M with instance norm, of single images) are those of
    pytorch-CycleGAN-and-pix2pix. The paper ends in a sigmoid; here it is in the loss.

    Attributes:
      features: channels of the first layer; the widest have 8 times that.
      layers: number of stride-2 convolutions; the patch is 34, 70, 142 px for 2, 3, 4.
      norm: "batch"; or "instance", without scale and bias, as in CycleGAN.
    """

    features: int = 64
    layers: int = 3
    norm: str = "batch"

    @nn.compact
    def __call__(self, *images: jax.Array, train: bool) -> jax.Array:
        """Return logits of an image being real; given (source, image), of the pair.

        Args:
          *images: [B, H, W, C] each, in [-1, 1]; their channels are concatenated.
          train: use batch statistics and update the running ones.

        Returns:
          logits [B, h, w, 1], one per patch: h = H / 2^layers - 2, positive for real.

        Raises:
          UserError: when no logit is left.
        """
        height, width = images[0].shape[1:3]
        least = 3 * 2**self.layers
        if self.layers < 1 or min(height, width) < least:
            raise UserError(
                f"model.layers={self.layers}: must be at least 1, and images of {height}x{width} px"
                f" at least {least} px: use fewer layers or larger images"
            )
        x = jnp.concatenate(images, -1)
        for i in range(self.layers + 1):
            strides = (2, 2) if i < self.layers else (1, 1)
            bias = not i or self.norm == "instance"
            x = self._conv(x, self.features * min(2**i, _MAX_FACTOR), strides, bias, f"conv{i}")
            if i and self.norm == "instance":
                x = InstanceNorm(learnt=False)(x)
            elif i:
                x = BatchNorm(scale_init=scale_init, name=f"norm{i}")(x, train=train)
            x = block_output(nn.leaky_relu(x, 0.2))
        return self._conv(x, 1, (1, 1), True, "logits")

    def _conv(
        self, x: jax.Array, channels: int, strides: tuple[int, int], use_bias: bool, name: str
    ) -> jax.Array:
        return Conv(
            channels,
            (4, 4),
            strides,
            padding=1,
            use_bias=use_bias,
            kernel_init=KERNEL_INIT,
            name=name,
        )(x)
