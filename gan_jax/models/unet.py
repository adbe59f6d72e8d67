"""The U-Net generator of pix2pix."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.inits import KERNEL_INIT, scale_init
from gan_jax.models.blocks.layers import Conv, ConvTranspose
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.models.blocks.stochastic import make_dropout
from gan_jax.parallel.precision import block_output

_MIN_DEPTH = 3
_MAX_FACTOR = 8
_DROPOUT_BLOCKS = 3


def unet_depth(height: int, width: int) -> int:
    """Return how often both sides of an image divide by 2: 64 x 64 -> 6, 96 x 64 -> 5.

    A square image whose side is a power of two has a bottleneck of one pixel.

    Raises:
      UserError: for fewer than 3 times.
    """
    depth = 0
    while height % 2 ** (depth + 1) == 0 and width % 2 ** (depth + 1) == 0:
        depth += 1
    if depth < _MIN_DEPTH:
        near = [max(8, round(side / 8) * 8) for side in (height, width)]
        raise UserError(
            f"unet: images of {height}x{width} px: both sides must divide by 8;"
            f" resize the data, such as to {near[0]}x{near[1]}"
        )
    return depth


class UNet(nn.Module):
    """Encoder and decoder with skip connections (Isola et al. 2017, arXiv:1611.07004, 6.1.1).

    The encoder is C64-C128-C256-C512-C512-... of 4x4 stride-2 convolutions and LeakyReLU 0.2, the
    decoder its mirror with ReLU, dropout on its first three blocks (never on the last), and tanh.
    Channels, biases and parameter count are those of pytorch-CycleGAN-and-pix2pix (54.414 M for
    256 px); a convolution before BatchNorm has no bias there.

    Deviations: the innermost encoder layer never has BatchNorm (the paper's erratum: at one pixel
    and batch size one, BatchNorm would set all activations to zero). Dropout is where the paper has
    it; the PyTorch code has it in decoder blocks two to four. With `train=False` BatchNorm uses the
    running statistics; the paper uses those of the test batch.

    Attributes:
      features: channels of the first layer; the widest have 8 times that.
      outputs: channels of the output image.
      depth: number of halvings; None takes as many as the image size allows.
      dropout_rate: in [0, 1).
      bounded: whether the output ends in tanh; otherwise it is unbounded, such as logits.
    """

    features: int = 64
    outputs: int = 3
    depth: int | None = None
    dropout_rate: float = 0.5
    bounded: bool = True

    @property
    def multiple(self) -> int | None:
        """Divisor of the input's sides; None without a depth, which then follows from the size."""
        return None if self.depth is None else 2**self.depth

    @property
    def context(self) -> int | None:
        """Radius of the input pixels that an output pixel depends on, in evaluation.

        Three times the sum of 1, 2, 4, ... of the depth's halvings; None without a depth.
        """
        return None if self.depth is None else 3 * (2**self.depth - 1)

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, keys: jax.Array | None = None, dropout: bool = True
    ) -> jax.Array:
        """Map source images to images.

        Args:
          x: source images [B, H, W, C] in [-1, 1], H and W divisible by 8.
          train: use batch statistics and update the running ones.
          keys: typed PRNG keys [B]; needed when `dropout` and dropout_rate > 0.
          dropout: whether to drop out, independently of `train`: dropout is the noise of pix2pix
            and stays on at test time.

        Returns:
          Images [B, H, W, outputs] in [-1, 1], unless not bounded.

        Raises:
          UserError: when the size or the depth does not fit.
        """
        depth = self._depth(*x.shape[1:3])
        rate = self.dropout_rate if dropout else 0.0
        drop = make_dropout(rate, keys, of="UNet")
        widths = [self.features * min(2**i, _MAX_FACTOR) for i in range(depth)]

        skips = []
        for i, width in enumerate(widths):
            if i:
                x = nn.leaky_relu(x, 0.2)
            x = Conv(
                width,
                (4, 4),
                (2, 2),
                padding=1,
                use_bias=False,
                kernel_init=KERNEL_INIT,
                name=f"down{i}",
            )(x)
            if 0 < i < depth - 1:
                x = BatchNorm(scale_init=scale_init, name=f"down_norm{i}")(x, train=train)
            x = block_output(x)
            skips.append(x)
        skips.pop()

        for i, width in enumerate([*widths[-2::-1], self.outputs]):
            last = i == depth - 1
            x = ConvTranspose(
                width,
                (4, 4),
                (2, 2),
                padding=1,
                use_bias=last,
                kernel_init=KERNEL_INIT,
                name=f"up{i}",
            )(nn.relu(x))
            if last:
                break
            x = BatchNorm(scale_init=scale_init, name=f"up_norm{i}")(x, train=train)
            if i < _DROPOUT_BLOCKS:
                x = drop(x, i)
            x = jnp.concatenate([skips.pop(), block_output(x)], -1)
        return jnp.tanh(x) if self.bounded else x

    def _depth(self, height: int, width: int) -> int:
        most = unet_depth(height, width)
        if self.depth is None:
            return most
        if not _MIN_DEPTH <= self.depth <= most:
            raise UserError(
                f"model.depth={self.depth}: images of {height}x{width} px allow"
                f" {_MIN_DEPTH} to {most}; None takes {most}"
            )
        return self.depth
