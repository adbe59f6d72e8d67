"""Encoders and decoders of variational autoencoders, convolutional and fully connected."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.layers import Conv, ConvTranspose, Dense
from gan_jax.parallel.precision import block_output

# exp(10) = 22,026 and exp(-20) = 2e-9: no overflow, and no posterior too narrow for float32.
# Outside, the gradient with respect to the log-variance is 0.
LOG_VARIANCE_RANGE = (-20.0, 10.0)
_MAX_FACTOR = 8
_INIT = nn.initializers.he_normal()


def conv_stages(height: int, width: int) -> int:
    """Return how often a convolutional VAE halves an image: 28 px -> 2 (7 px), 64 px -> 4 (4 px).

    At least twice, and on while both sides are even and neither falls below 4 px.

    Raises:
      UserError: unless both sides divide by 4.
    """
    if min(height, width) < 4 or height % 4 or width % 4:
        near = [max(4, round(side / 4) * 4) for side in (height, width)]
        raise UserError(
            f"vae: images of {height}x{width} px: with model.vae=conv both sides must divide by 4;"
            f" resize the data, such as to {near[0]}x{near[1]}, or use net=mlp"
        )
    stages = 2
    while all(side % 2 ** (stages + 1) == 0 and side >> stages >= 8 for side in (height, width)):
        stages += 1
    return stages


class ConvEncoder(nn.Module):
    """Strided 4x4 convolutions with ReLU, a dense layer, and the posterior's two parameters.

    Of no paper; the shape of DCGAN's discriminator (arXiv:1511.06434) without BatchNorm, whose
    statistics would couple the posteriors of a batch. Channels double from `width` to at most
    8 times that, and the dense layer has as many.

    Attributes:
      latent: dimensions of the latent.
      width: channels of the first convolution.
    """

    latent: int
    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Map images to the posterior N(mean, diag exp(log_variance)).

        Args:
          x: [B, H, W, C] in [-1, 1], H and W divisible by 4.
          train: not used, nothing here differs in training.

        Returns:
          mean and log_variance, [B, latent]; log_variance within LOG_VARIANCE_RANGE.

        Raises:
          UserError: for another size.
        """
        stages = conv_stages(*x.shape[1:3])
        for i in range(stages):
            features = self.width * min(2**i, _MAX_FACTOR)
            x = Conv(features, (4, 4), 2, 1, kernel_init=_INIT, name=f"conv{i}")(x)
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
    """Two hidden layers with ReLU (arXiv:1312.6114, C.2, has one with tanh).

    Attributes:
      latent: dimensions of the latent.
      width: units of a hidden layer.
    """

    latent: int
    width: int = 512

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Map images x [B, H, W, C] of any size, as `ConvEncoder` does."""
        return _posterior(_hidden(x.reshape(x.shape[0], -1), self.width), self.latent)


class MLPDecoder(nn.Module):
    """Two hidden layers with ReLU (arXiv:1312.6114, C.1, has one with tanh).

    Attributes:
      image_shape: (H, W, C), any.
      width: units of a hidden layer.
    """

    image_shape: tuple[int, int, int]
    width: int = 512

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        """Map latents z [B, latent] to the likelihood's parameters [B, H, W, C], unbounded."""
        x = Dense(math.prod(self.image_shape), name="outputs")(_hidden(z, self.width))
        return x.reshape(-1, *self.image_shape)


class VAE(nn.Module):
    """An encoder and a decoder as one network (arXiv:1312.6114).

    Attributes:
      encoder: `ConvEncoder`, `MLPEncoder`, or what has their signature.
      decoder: `ConvDecoder`, `MLPDecoder`, or what has their signature.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __call__(
        self, x: jax.Array, noise: jax.Array | None = None, *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encode, draw z = mean + exp(log_variance / 2) noise (eq. 10), and decode.

        Args:
          x: images [B, H, W, C] in [-1, 1].
          noise: [B, latent] from N(0, I); None decodes the posterior's mean.
          train: passed on.

        Returns:
          the likelihood's parameters [B, H, W, C], mean [B, latent] and log_variance [B, latent].
        """
        mean, log_variance = self.encoder(x, train=train)
        z = mean if noise is None else mean + jnp.exp(0.5 * log_variance) * noise
        return self.decoder(z, train=train), mean, log_variance

    def encode(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Map images to mean and log_variance, [B, latent]."""
        return self.encoder(x, train=train)

    def decode(self, z: jax.Array, *, train: bool) -> jax.Array:
        """Map latents z [B, latent] to the likelihood's parameters [B, H, W, C]."""
        return self.decoder(z, train=train)


def _hidden(x: jax.Array, width: int) -> jax.Array:
    for i in range(2):
        x = nn.relu(Dense(width, kernel_init=_INIT, name=f"hidden{i}")(x))
    return x


def _posterior(x: jax.Array, latent: int) -> tuple[jax.Array, jax.Array]:
    mean = Dense(latent, name="mean")(x)
    log_variance = Dense(latent, name="log_variance")(x)
    return mean, jnp.clip(log_variance, *LOG_VARIANCE_RANGE)
