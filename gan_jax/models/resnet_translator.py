"""The residual generator of CycleGAN, for images of any size."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.inits import KERNEL_INIT
from gan_jax.models.blocks.layers import Conv, ConvTranspose
from gan_jax.models.blocks.norm import InstanceNorm
from gan_jax.models.blocks.stochastic import make_dropout
from gan_jax.parallel.precision import block_output

MULTIPLE = 4  # divisor of the image sides, which are halved twice


class ResNetTranslator(nn.Module):
    """Residual blocks between two halvings and two doublings (arXiv:1703.10593, section 7.2).

    c7s1-64, d128, d256, `blocks` x R256, u128, u64, c7s1-3 of Zhu et al. 2017, after Johnson et al.
    2016 (arXiv:1603.08155): reflection padding, instance normalisation without scale and bias,
    ReLU, tanh at the end. Biases and the parameter count (11.378 M with 9 blocks) are those of
    pytorch-CycleGAN-and-pix2pix.

    Attributes:
      features: channels of the first layer; the blocks have four times as many.
      outputs: channels of the output image.
      blocks: 6 in the paper for 128 px, 9 for 256 px and more.
      dropout_rate: within the blocks, in [0, 1); an option of the authors' code, not in the paper.
    """

    features: int = 64
    outputs: int = 3
    blocks: int = 9
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, keys: jax.Array | None = None, dropout: bool = True
    ) -> jax.Array:
        """Map images x [B, H, W, C] in [-1, 1] to [B, H, W, outputs] in [-1, 1].

        Args:
          x: H and W divisible by 4, and at least 8.
          train: unused; there are no statistics.
          keys: typed PRNG keys [B]; needed when `dropout` and dropout_rate > 0.
          dropout: whether to drop out, independently of `train`, as in `UNet`.

        Raises:
          UserError: for another size.
        """
        height, width = x.shape[1:3]
        if height % MULTIPLE or width % MULTIPLE or min(height, width) < 2 * MULTIPLE:
            raise UserError(
                f"resnet translator: images of {height}x{width} px: both sides must divide by"
                f" {MULTIPLE} and be at least {2 * MULTIPLE}: set data.size"
            )
        drop = make_dropout(self.dropout_rate if dropout else 0.0, keys, of="ResNetTranslator")
        x = self._layer(reflect(x, 3), Conv, self.features, 7, name="first")
        for i in (1, 2):
            x = self._layer(x, Conv, self.features * 2**i, 3, 2, 1, name=f"down{i}")
        for i in range(self.blocks):
            y = self._layer(reflect(x, 1), Conv, x.shape[-1], 3, name=f"block{i}a")
            y = self._conv(reflect(drop(y, i), 1), Conv, x.shape[-1], 3, name=f"block{i}b")
            x = block_output(x + InstanceNorm(learnt=False)(y))
        for i in (1, 0):
            cut = ((1, 0), (1, 0))  # PyTorch's padding and output_padding of 1
            x = self._layer(x, ConvTranspose, self.features * 2**i, 3, 2, cut, name=f"up{i}")
        return jnp.tanh(self._conv(reflect(x, 3), Conv, self.outputs, 7, name="last"))

    def _layer(self, x: jax.Array, *given: object, name: str) -> jax.Array:
        x = self._conv(x, *given, name=name)
        return block_output(nn.relu(InstanceNorm(learnt=False)(x)))

    def _conv(
        self,
        x: jax.Array,
        layer: type[nn.Module],
        channels: int,
        taps: int,
        stride: int = 1,
        padding: object = 0,
        *,
        name: str,
    ) -> jax.Array:
        given = dict(strides=stride, padding=padding, kernel_init=KERNEL_INIT, name=name)
        return layer(channels, taps, **given)(x)


def reflect(x: jax.Array, pad: int) -> jax.Array:
    """Pad images [B, H, W, C] by reflection, without repeating the edge pixels."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
