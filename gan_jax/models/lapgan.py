"""LAPGAN: the Laplacian pyramid, and the networks of its levels.

Denton et al. 2015 (arXiv:1506.05751, section 3 and appendix, and the authors' code for CIFAR-10). A
level's generator takes the enlarged image of the level below, with a plane of noise as one more
channel, and produces the residual that the image lacks; the discriminator sees their sum. The
smallest level is a GAN whose networks have two hidden layers each. The class enters as another
plane, a rectified linear function of the one-hot class; at the smallest level, the one-hot class is
concatenated with the latents and with the pixels.

The pyramid downsamples with the triangle filter [1, 3, 3, 1] / 8 and upsamples with its transpose
(cropped at the border); the paper names no filter, the code scales bilinearly. A real image is by
construction the enlarged level below plus its residual, so that the pyramid is lossless.

Deviations: the smallest level's generator ends in tanh; a discriminator's second convolution has an
additional row and column of windows, without which it does not see the last pixels of an image: on
MNIST, with the authors' geometry, generators draw lines there that no gradient corrects.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.disc_norm import disc_layers
from gan_jax.models.blocks.gen_norm import with_class
from gan_jax.models.blocks.heads import Head, Outputs, apply_head
from gan_jax.models.blocks.layers import Conv, Dense
from gan_jax.models.blocks.soft_labels import one_hot
from gan_jax.models.blocks.stochastic import make_dropout
from gan_jax.parallel.precision import block_output

NORMS = ("none", "spectral", "layer")
# Uniform in +-1 / sqrt(fan in), the default of the authors' framework.
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def sizes(height: int, width: int, coarsest: int) -> list[tuple[int, int]]:
    """Return (height, width) of the levels, the smallest first.

    Args:
      height, width: of the images [px].
      coarsest: least shorter side of the smallest level [px].

    Raises:
      UserError: for sizes that do not halve once.
    """
    found = [(height, width)]
    while not (found[0][0] % 2 or found[0][1] % 2) and min(found[0]) // 2 >= coarsest:
        found.insert(0, (found[0][0] // 2, found[0][1] // 2))
    if len(found) < 2:
        raise UserError(
            f"lapgan: images of {height}x{width} px do not halve to {coarsest} px or more, and a"
            " pyramid has two levels at least: set an even --config.data.size, or a smaller"
            " --config.model.gen.coarsest"
        )
    return found


def shrink(images: jax.Array) -> jax.Array:
    """Halve the sides of images [..., H, W, C], which are even."""
    *lead, height, width, channels = images.shape
    return jax.image.resize(images, (*lead, height // 2, width // 2, channels), "linear")


def enlarge(images: jax.Array) -> jax.Array:
    """Double the sides of images [..., H, W, C]."""
    *lead, height, width, channels = images.shape
    return jax.image.resize(images, (*lead, 2 * height, 2 * width, channels), "linear")


def pyramid(images: jax.Array, levels: int) -> list[jax.Array]:
    """Return images [..., H, W, C] at each level, the smallest first (a Gaussian pyramid)."""
    found = [images]
    for _ in range(levels - 1):
        found.insert(0, shrink(found[0]))
    return found


def with_noise_plane(low: jax.Array, noise: jax.Array) -> jax.Array:
    """Return the input of a level's generator, [B, H, W, C + 1].

    Args:
      low: the enlarged image of the level below, [B, H, W, C].
      noise: [B, H * W], from N(0, I).
    """
    return jnp.concatenate([low, noise.reshape(*low.shape[:3], 1).astype(low.dtype)], -1)


def _with_class_plane(x: jax.Array, labels: jax.Array | None, num_classes: int) -> jax.Array:
    """Append a class plane to x [B, H, W, C], if there are classes."""
    if not num_classes:
        return x
    plane = Dense(x.shape[1] * x.shape[2], kernel_init=_INIT, name="class_plane")
    made = nn.relu(plane(one_hot(labels, num_classes, x.dtype)))
    return jnp.concatenate([x, made.reshape(*x.shape[:3], 1)], -1)


class Generator(nn.Module):
    """Add a residual to an enlarged image, computed by three convolutions.

    Attributes:
      width: channels of the two hidden layers; 64 in the authors' code.
      num_classes: 0 for an unconditional generator.
    """

    width: int = 64
    num_classes: int = 0

    @nn.compact
    def __call__(
        self, given: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C], not bounded.

        Args:
          given: [B, H, W, C + 1], see `with_noise_plane`.
          labels: int [B]; only with num_classes.
          train: unused; there are no statistics.
        """
        x = _with_class_plane(given, labels, self.num_classes)
        for i in range(2):
            x = nn.relu(Conv(self.width, (7, 7), kernel_init=_INIT, name=f"conv{i}")(x))
            x = block_output(x)
        lacking = Conv(given.shape[-1] - 1, (5, 5), kernel_init=_INIT, name="image")(x)
        return given[..., :-1] + lacking


class Discriminator(nn.Module):
    """Map images of a level to one logit each.

    Attributes:
      width: channels of the two convolutions, 64 in the authors' code; with `coarse`, units of the
        two dense layers, 600 in the paper.
      num_classes: 0 for an unconditional discriminator.
      norm: one of NORMS; the paper's is "none".
      head: the last layers.
      coarse: whether this is the smallest level's discriminator, which has dense layers.
      dropout_rate: in [0, 1), on the inputs of the last layers and, with `coarse`, of the second
        hidden layer; 0.5 in the authors' code.
    """

    width: int = 64
    num_classes: int = 0
    norm: str = "none"
    head: Head = Head()
    coarse: bool = False
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
          images: [B, H, W, C], the enlarged level below plus its real or generated residual; at
            least 10 px unless `coarse`.
          labels: int [B]; only with num_classes.
          train: drop out, and take a power iteration with norm "spectral".
          keys: typed PRNG keys [B]; needed when `train` and dropout_rate > 0.
        """
        layers = disc_layers(self.norm, train=train)
        drop = make_dropout(self.dropout_rate if train else 0.0, keys, of="Discriminator")
        seen = self.num_classes if self.head.conditional == "concat" else 0
        if self.coarse:
            x = with_class(images.reshape(images.shape[0], -1), labels, seen)
            for i in range(2):
                x = layers.dense(self.width, kernel_init=_INIT, name=f"hidden{i}")(x)
                x = drop(block_output(nn.relu(layers.norm(f"norm{i}")(x))), i)
            pooled = x
        else:
            x = _with_class_plane(images, labels, seen)
            for i in range(2):
                conv = layers.conv(
                    *(self.width, (5, 5), (i + 1, i + 1), ((0, i), (0, i))),
                    kernel_init=_INIT,
                    name=f"conv{i}",
                )
                x = block_output(nn.relu(layers.norm(f"norm{i}")(conv(x))))
            x = drop(x, 1)
            pooled, x = x.sum((1, 2)), x.reshape(x.shape[0], -1)
        return apply_head(
            layers,
            x,
            pooled,
            labels,
            num_classes=self.num_classes,
            head=self.head,
            kernel_init=_INIT,
        )
