"""The networks of the first GANs (Goodfellow et al. 2014, arXiv:1406.2661).

As in the authors' code for MNIST: a generator with two layers of 1,200 rectified linear units and a
discriminator with two maxout layers of 240 units with five pieces each. And, as in their code for
CIFAR-10, the convolutional form: a generator that ends in one transposed convolution, and a
discriminator of maxout convolutions.

Deviations: images are in [-1, 1], so the generator ends in tanh where theirs has a sigmoid. The
convolutional form has the same kinds of layers only: all convolutions have 5x5 kernels and stride 2
(theirs: 8x8 and 5x5 with pooling, and stride 3 in the generator); rectified units replace a layer
of logistic ones in the generator; the number of units follows `width` (theirs: 8,000 and 8,000,
then 80 channels, against 32, 32, 192 and 500); kernels are initialised by fan-in (theirs: from
[-0.05, 0.05), which attenuates the latents too much at smaller widths, and in the discriminator
from [-0.005, 0.005), where the signal vanishes over five layers: on MNIST the logits were 0.000 for
300 updates).
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.disc_norm import disc_layers
from gan_jax.models.blocks.gen_norm import with_class
from gan_jax.models.blocks.heads import Head, Outputs, apply_head, with_class_planes
from gan_jax.models.blocks.layers import ConvTranspose, Dense
from gan_jax.models.blocks.stochastic import make_dropout
from gan_jax.parallel.precision import block_output

NORMS = ("none", "spectral")
PIECES, CONV_PIECES = 5, 2  # of a maxout unit
CONVOLUTIONS = 3
PIXEL_DROPOUT = 0.2


def symmetric_uniform(limit: float) -> nn.initializers.Initializer:
    """Return an initialiser that draws from [-limit, limit)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


_GEN_INIT, _DISC_INIT = symmetric_uniform(0.05), symmetric_uniform(0.005)
_CONV_INIT = nn.initializers.lecun_uniform()


def check_size(height: int, width: int, convolutional: bool) -> None:
    """Raise UserError for images that the convolutional networks cannot halve."""
    if convolutional and (height % 8 or width % 8):
        raise UserError(
            f"conv2014: images of {height}x{width} px, both sides must divide by 8: set another"
            " size, such as --config.data.size=32,32"
        )


def maxout(x: jax.Array, pieces: int) -> jax.Array:
    """Return the largest of each `pieces` neighbouring channels (arXiv:1302.4389)."""
    x = x.reshape(*x.shape[:-1], x.shape[-1] // pieces, pieces)
    # Not `jnp.max`: see `layers.max_pool`.
    return functools.reduce(
        lambda a, b: jnp.where(a >= b, a, b), (x[..., i] for i in range(pieces))
    )


class Generator(nn.Module):
    """Map latents to images by two hidden layers.

    Attributes:
      image_shape: (height, width, channels).
      width: units of a hidden layer, 1,200 in the paper's code; with `convolutional`, 16 times the
        channels before the last layer.
      num_classes: 0 for an unconditional generator; the one-hot class is appended to the latents.
      convolutional: whether the last layer is a transposed convolution.
    """

    image_shape: tuple[int, int, int]
    width: int = 1200
    num_classes: int = 0
    convolutional: bool = False

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C] in [-1, 1].

        Args:
          latents: [B, L].
          labels: int [B], or weights of the classes [B, num_classes]; only with num_classes.
          train: unused; there are no statistics.
        """
        height, width, channels = self.image_shape
        init = _CONV_INIT if self.convolutional else _GEN_INIT
        dense = functools.partial(Dense, kernel_init=init)
        x = with_class(latents, labels, self.num_classes)
        x = block_output(nn.relu(dense(self.width, name="hidden0")(x)))
        if not self.convolutional:
            x = block_output(nn.relu(dense(self.width, name="hidden1")(x)))
            x = dense(height * width * channels, name="image")(x)
            return jnp.tanh(x.reshape(-1, height, width, channels))
        grid = (height // 2, width // 2, max(self.width // 16, 1))
        x = nn.relu(dense(grid[0] * grid[1] * grid[2], name="hidden1")(x)).reshape(-1, *grid)
        image = ConvTranspose(
            channels, (5, 5), (2, 2), padding="SAME", kernel_init=init, name="image"
        )
        return jnp.tanh(image(block_output(x)))


class Discriminator(nn.Module):
    """Map images to one logit each by maxout layers.

    Attributes:
      width: maxout units of a dense layer, 240 in the paper's code; with `convolutional`, four
        times the channels of the first two convolutions and twice those of the third.
      num_classes: 0 for an unconditional discriminator.
      norm: one of NORMS.
      head: the last layers.
      convolutional: three convolutions and one dense layer in place of two dense layers.
      dropout_rate: in [0, 1), on the inputs of all layers but the first; 0.5 in the paper's code.
        If above 0, a share PIXEL_DROPOUT of the pixels is also set to black, as in that code.
    """

    width: int = 240
    num_classes: int = 0
    norm: str = "none"
    head: Head = Head()
    convolutional: bool = False
    dropout_rate: float = 0.0

    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        *,
        train: bool,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Return logits [B], positive for real; arguments as in `outputs`."""
        return self.outputs(images, labels, train=train, keys=keys).logits

    @nn.compact
    def outputs(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        *,
        train: bool,
        keys: jax.Array | None = None,
    ) -> Outputs:
        """Return logits, features and head outputs.

        Args:
          images: [B, H, W, C] in [-1, 1].
          labels: int [B]; only with num_classes.
          train: drop out, and take a power iteration with norm "spectral".
          keys: typed PRNG keys [B]; needed when `train` and dropout_rate > 0.
        """
        layers = disc_layers(self.norm, train=train)
        init = _CONV_INIT if self.convolutional else _DISC_INIT
        rate = self.dropout_rate if train else 0.0
        drop = make_dropout(rate, keys, of="Discriminator")
        if rate:
            images = make_dropout(PIXEL_DROPOUT, keys, of="Discriminator")(images + 1, 0) - 1
        x = with_class_planes(images, labels, num_classes=self.num_classes, head=self.head)
        if self.convolutional:
            for i in range(CONVOLUTIONS):
                features = max(self.width // (4 if i < 2 else 2), 1) * CONV_PIECES
                conv = layers.conv(features, (5, 5), (2, 2), kernel_init=init, name=f"conv{i}")
                x = drop(block_output(maxout(conv(x), CONV_PIECES)), i + 1)
        x = x.reshape(x.shape[0], -1)
        for i in range(1 if self.convolutional else 2):
            dense = layers.dense(self.width * PIECES, kernel_init=init, name=f"hidden{i}")
            x = drop(block_output(maxout(dense(x), PIECES)), CONVOLUTIONS + i + 1)
        return apply_head(
            layers,
            x,
            x,
            labels,
            num_classes=self.num_classes,
            head=self.head,
            kernel_init=init,
        )
