"""The networks of the deep-learning tutorial that this project comes from, repaired.

Generator: dense to 4x4x512, LeakyReLU, transposed 4x4 stride-2 convolutions of 256, 128, 64
channels with BatchNorm and LeakyReLU, a 3x3 convolution to the image. Discriminator: 3x3 stride-2
convolutions of 64, 128, 256 channels with BatchNorm and LeakyReLU, dense to one logit. The repairs
are listed in `configs/tutorial_gan.py`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.heads import Outputs
from gan_jax.models.blocks.layers import Conv, ConvTranspose, Dense
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.precision import block_output

SLOPE = 0.2  # of LeakyReLU; the tutorial leaves it open, this is the DCGAN paper's


def doublings(height: int, width: int) -> int:
    """Return how many stride-2 stages lead from 4x4 to the image: 32 px -> 3, 64 px -> 4.

    Raises:
      UserError: the image is not a square of 16, 32, 64, 128, ... px.
    """
    count = max(height // 4, 1).bit_length() - 1
    if height != width or 4 << count != height or count < 2:
        raise UserError(
            f"tutorial_gan: images of {height}x{width} px; its 4x4 start allows squares of 16, 32,"
            " 64, 128, ... px: set --config.data.size=64,64"
        )
    return count


class Generator(nn.Module):
    """Map latents to images; beyond 32 px each further stage has half the channels.

    Attributes:
      image_shape: (height, width, channels); a square, side a power of two from 16 px.
      width: channels of the third stage, 64 in the tutorial.
    """

    image_shape: tuple[int, int, int]
    width: int = 64

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C] in [-1, 1] from latents [B, L]; labels are ignored."""
        height, width, channels = self.image_shape
        x = Dense(4 * 4 * 8 * self.width, name="dense")(latents)
        x = nn.leaky_relu(x.reshape(x.shape[0], 4, 4, 8 * self.width), SLOPE)
        for i in range(doublings(height, width)):
            features = max(4 * self.width >> i, 1)
            x = ConvTranspose(features, (4, 4), (2, 2), padding=1, name=f"up{i}")(x)
            x = block_output(nn.leaky_relu(BatchNorm(name=f"norm{i}")(x, train=train), SLOPE))
        return jnp.tanh(Conv(channels, (3, 3), name="image")(x))


class Discriminator(nn.Module):
    """Map images to one logit each.

    Attributes:
      width: channels of the first stage, 64 in the tutorial.
    """

    width: int = 64

    @nn.compact
    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return logits [B], positive for real; labels are ignored."""
        x = images
        for i in range(3):
            x = Conv(self.width << i, (3, 3), (2, 2), name=f"down{i}")(x)
            x = block_output(nn.leaky_relu(BatchNorm(name=f"norm{i}")(x, train=train), SLOPE))
        return Dense(1, name="logits")(x.reshape(x.shape[0], -1))[:, 0]

    def outputs(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> Outputs:
        """Return the logits as `Outputs`, without features and heads."""
        return Outputs(self(images, labels, train=train))
