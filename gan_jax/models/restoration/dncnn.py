"""DnCNN: a plain convolutional network that predicts the noise of an image."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from gan_jax.core.errors import UserError, check_choice
from gan_jax.models.blocks.layers import Conv
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.precision import block_output

NORMS = ("batch", "none")


class DnCNN(nn.Module):
    """Subtract the predicted noise from an image (Zhang et al. 2016, arXiv:1608.03981, figure 1).

    Convolution and ReLU; `layers - 2` times convolution, BatchNorm, ReLU; convolution. With 17
    layers of 64 features (DnCNN-S) it has 556,097 parameters for one channel: a convolution before
    BatchNorm has no bias, the first and the last have one. DnCNN-B (blind) has 20 layers. The
    module returns the clean image, not the noise.

    Deviations: weights start orthogonal, as in the authors' PyTorch code (paper: He's).

    Attributes:
      features: channels of every layer within.
      outputs: channels of the image, also of the input.
      layers: number of convolutions, at least 3.
      norm: "batch"; or "none": convolutions then have biases, and weights He's gain of sqrt(2) in
        front of each ReLU, without which activations would fade.
    """

    features: int = 64
    outputs: int = 3
    layers: int = 17
    norm: str = "batch"

    scale: ClassVar[int] = 1
    multiple: ClassVar[int] = 1  # divisor of the input's sides

    @property
    def context(self) -> int:
        """Radius of the input pixels that an output pixel depends on, in evaluation."""
        return self.layers

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Remove the noise of images.

        Args:
          x: [B, H, W, outputs]; clean images are in [-1, 1], noise exceeds it.
          train: use batch statistics and update the running ones.

        Returns:
          [B, H, W, outputs], the image without its noise, not clipped.

        Raises:
          UserError: another number of channels, too few layers, or an unknown norm.
        """
        check_choice("model.norm", self.norm, NORMS)
        if x.shape[-1] != self.outputs:
            raise UserError(
                f"dncnn: an input of {x.shape[-1]} channels for an output of {self.outputs}: the"
                " noise is subtracted from the input: choose another network, such as edsr with"
                " model.scale=1"
            )
        if self.layers < 3:
            raise UserError(f"model.layers={self.layers}: must be at least 3")
        batch = self.norm == "batch"
        inner = nn.initializers.orthogonal(1.0 if batch else 2**0.5)
        h = nn.relu(Conv(self.features, 3, kernel_init=inner, name="first")(x))
        for i in range(1, self.layers - 1):
            h = Conv(self.features, 3, use_bias=not batch, kernel_init=inner, name=f"conv{i}")(h)
            if batch:
                h = BatchNorm(name=f"norm{i}")(h, train=train)
            h = block_output(nn.relu(h))
        noise = Conv(self.outputs, 3, kernel_init=nn.initializers.orthogonal(), name="last")(h)
        return x - noise
