"""A small convolutional network for classification and regression of images."""

from __future__ import annotations

import flax.linen as nn
import jax

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.layers import Conv, Dense, max_pool
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.models.blocks.stochastic import dropout
from gan_jax.parallel.precision import block_output

# Feature maps are resized to at most this many rows and columns before the dense layers, so that
# the layers' size is bounded for any image size. 28 px images arrive as 3 x 3 and are not resized.
_GRID = 4


class CNN(nn.Module):
    """Three stages of convolution, BatchNorm, ReLU and 2x2 max pooling, then two dense layers.

    The stages have 2, 2 and 1 convolutions (3x3) of width, 2 width and 4 width channels. Not from a
    paper: the VGG pattern (arXiv:1409.1556) with BatchNorm (arXiv:1502.03167), sized for MNIST.

    Attributes:
      outputs: number of classes or of regressed values.
      width: channels of the first stage.
      dropout_rate: in [0, 1), before the last layer; 0 needs no keys.
    """

    outputs: int
    width: int = 32
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map images to outputs and features.

        Args:
          x: images [B, H, W, C] in [-1, 1], H and W at least 8.
          train: use batch statistics and update the running ones, and drop out.
          keys: typed PRNG keys [B]; needed when `train` and dropout_rate > 0.

        Returns:
          outputs [B, outputs] (logits, no activation) and features [B, 4 * width] (non-negative,
          before dropout).

        Raises:
          UserError: for images below 8 px.
        """
        if min(x.shape[1:3]) < 8:
            size = f"{x.shape[1]}x{x.shape[2]}"
            raise UserError(f"cnn: images of {size} px, at least 8x8 needed: resize the data")
        for stage, convolutions in enumerate((2, 2, 1)):
            for i in range(convolutions):
                # No bias: BatchNorm has one.
                x = Conv(
                    self.width << stage,
                    (3, 3),
                    padding=1,
                    use_bias=False,
                    kernel_init=nn.initializers.he_normal(),
                    name=f"conv{stage}_{i}",
                )(x)
                x = nn.relu(BatchNorm(name=f"norm{stage}_{i}")(x, train=train))
            x = block_output(max_pool(x))
        batch, height, width, channels = x.shape
        grid = (min(height, _GRID), min(width, _GRID))
        if grid != (height, width):
            x = jax.image.resize(x, (batch, *grid, channels), "linear")
        x = Dense(
            4 * self.width,
            use_bias=False,
            kernel_init=nn.initializers.he_normal(),
            name="dense",
        )(x.reshape(batch, -1))
        features = nn.relu(BatchNorm(name="norm_dense")(x, train=train))
        x = features
        if train and self.dropout_rate:
            if keys is None:
                raise ValueError("CNN: keys=None, but dropout_rate > 0 and train need one an image")
            x = dropout(x, keys, self.dropout_rate)
        return Dense(self.outputs, name="outputs")(x), features
