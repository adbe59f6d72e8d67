"""Encoders and decoders of variational autoencoders, convolutional and fully connected."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.layers import Conv, ConvTranspose, Dense
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.precision import block_output

# exp(10) = 22,026 and exp(-20) = 2e-9: no overflow, and no posterior too narrow for float32.
# Outside, the gradient with respect to the log-variance is 0.
LOG_VARIANCE_RANGE = (-20.0, 10.0)
ENCODER_NORMS = ("none", "batch")
_MAX_FACTOR = 8
_INIT, _XAVIER = nn.initializers.he_normal(), nn.initializers.xavier_uniform()


def conv_stages(height: int, width: int) -> int:
    """Return how often a convolutional VAE halves an image: 28 px -> 2 (7 px), 64 px -> 4 (4 px).

    At least twice, and on while both sides are even and neither falls below 4 px.

    Raises:
      UserError: unless both sides divide by 4.
    """
    if min(height, width) < 4 or height % 4 or width % 4:
        near = [max(4, round(side / 4) * 4) for side in (height, width)]
        raise UserError(
            f"vae: images of {height}x{width} px: of a network conv both sides must divide by 4;"
            f" resize the data, such as to {near[0]}x{near[1]}, or use net=mlp"
        )
    stages = 2
    while all(side % 2 ** (stages + 1) == 0 and side >> stages >= 8 for side in (height, width)):
        stages += 1
    return stages


class ConvEncoder(nn.Module):
    """Strided 4x4 convolutions with ReLU, a dense layer, and the posterior's two parameters.

    Of no paper; the shape of DCGAN's discriminator (arXiv:1511.06434), without BatchNorm unless
    that is asked for: its statistics couple the posteriors of a batch in training. Channels double
    from `width` to at most 8 times that, and the dense layer has as many.

    Attributes:
      latent: dimensions of the latent.
      width: channels of the first convolution.
      norm: one of ENCODER_NORMS, of every convolution.
    """

    latent: int
    width: int = 32
    norm: str = "none"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Map images to the posterior N(mean, diag exp(log_variance)).

        Args:
          x: [B, H, W, C] in [-1, 1], H and W divisible by 4.
          train: use and move the batch statistics, where there are any.

        Returns:
          mean and log_variance, [B, latent]; log_variance within LOG_VARIANCE_RANGE.

        Raises:
          UserError: for another size.
        """
        stages = conv_stages(*x.shape[1:3])
        for i in range(stages):
            features = self.width * min(2**i, _MAX_FACTOR)
            x = Conv(features, (4, 4), 2, 1, kernel_init=_INIT, name=f"conv{i}")(x)
            if self.norm == "batch":
                x = BatchNorm(name=f"norm{i}")(x, train=train)
            x = block_output(nn.relu(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(self.width * _MAX_FACTOR, kernel_init=_INIT, name="dense")(x))
        return _posterior(x, self.latent)


class ConvDecoder(nn.Module):
    """Mirror of `ConvEncoder`: two dense layers, then transposed 4x4 convolutions with ReLU.

    Attributes:
      image_shape: (H, W, C), H and W divisible by 4.
      width: channels before the last convolution.
    """

    image_shape: tuple[int, int, int]
    width: int = 32

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        """Map latents z [B, latent] to the likelihood's parameters [B, H, W, C], unbounded.

        Args:
          z: about N(0, I).
          train: not used.

        Raises:
          UserError: for an image_shape that does not divide by 4.
        """
        height, width, channels = self.image_shape
        stages = conv_stages(height, width)
        features = [self.width * min(2**i, _MAX_FACTOR) for i in range(stages)]
        shape = (height >> stages, width >> stages, features[-1])
        x = nn.relu(Dense(self.width * _MAX_FACTOR, kernel_init=_INIT, name="dense0")(z))
        x = nn.relu(Dense(math.prod(shape), kernel_init=_INIT, name="dense1")(x))
        x = x.reshape(-1, *shape)
        for i in reversed(range(1, stages)):
            layer = ConvTranspose(features[i - 1], (4, 4), 2, 1, kernel_init=_INIT, name=f"conv{i}")
            x = block_output(nn.relu(layer(x)))
        return ConvTranspose(channels, (4, 4), 2, 1, name="conv0")(x)


class MLPEncoder(nn.Module):
    """Two hidden layers with ReLU, or with tanh as in arXiv:1509.00519 (1312.6114, C.2, has one).

    Attributes:
      latent: dimensions of the latent.
      width: units of a hidden layer.
      tanh: in place of ReLU, and all weights drawn as by Glorot & Bengio 2010.
    """

    latent: int
    width: int = 512
    tanh: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Map images x [B, H, W, C] of any size, as `ConvEncoder` does."""
        if self.tanh:
            # Pixels of 0 and 1, as in the paper. A background of -1 is a bias of hundreds of
            # weights, which one step of Adam moves together, and the units saturate.
            x = (x + 1) / 2
        x = _hidden(x.reshape(x.shape[0], -1), self.width, self.tanh)
        return _posterior(x, self.latent, self.tanh)


class MLPDecoder(nn.Module):
    """Two hidden layers with ReLU, or with tanh as in arXiv:1509.00519 (1312.6114, C.1, has one).

    Attributes:
      image_shape: (H, W, C), any.
      width: units of a hidden layer.
      tanh: as of `MLPEncoder`.
    """

    image_shape: tuple[int, int, int]
    width: int = 512
    tanh: bool = False

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        """Map latents z [B, latent] to the likelihood's parameters [B, H, W, C], unbounded."""
        x = _hidden(z, self.width, self.tanh)
        x = _linear(math.prod(self.image_shape), "outputs", self.tanh)(x)
        return x.reshape(-1, *self.image_shape)


def _hidden(x: jax.Array, width: int, tanh: bool) -> jax.Array:
    for i in range(2):
        layer = Dense(width, kernel_init=_XAVIER if tanh else _INIT, name=f"hidden{i}")
        x = jnp.tanh(layer(x)) if tanh else nn.relu(layer(x))
    return x


def _linear(size: int, name: str, tanh: bool) -> nn.Module:
    return Dense(size, kernel_init=_XAVIER, name=name) if tanh else Dense(size, name=name)


def _posterior(x: jax.Array, latent: int, tanh: bool = False) -> tuple[jax.Array, jax.Array]:
    mean = _linear(latent, "mean", tanh)(x)
    log_variance = _linear(latent, "log_variance", tanh)(x)
    return mean, jnp.clip(log_variance, *LOG_VARIANCE_RANGE)
