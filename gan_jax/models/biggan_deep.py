"""BigGAN-deep: bottleneck blocks, twice as many, with identity shortcuts.

Brock et al. 2018 (arXiv:1809.11096, appendix B, and the author's PyTorch code). Every BatchNorm is
conditioned on all latents and the class embedding. If a block reduces the channels, its shortcut
drops the last ones; if a discriminator's block increases them, its shortcut appends a 1x1
convolution of its input. Weights are spectrally normalised, except for the generator's embedding,
and initialised orthogonally.

Deviation: without classes the BatchNorms are conditioned on the latents only.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.biggan import start
from gan_jax.models.blocks.attention import SelfAttention
from gan_jax.models.blocks.disc_norm import disc_layers
from gan_jax.models.blocks.heads import Head, Outputs, apply_head, with_class_planes
from gan_jax.models.blocks.layers import avg_pool, upsample
from gan_jax.models.blocks.norm import BatchNorm, ModulatedBatchNorm
from gan_jax.models.plans import plan
from gan_jax.models.resnet_gan import initializers
from gan_jax.parallel.precision import block_output

_BOTTLENECK = 4  # a block's inner channels are a fourth of those at its wide end


class Generator(nn.Module):
    """Map latents to images; attributes as in `biggan.Generator`, the paper's width is 128."""

    image_shape: tuple[int, int, int]
    width: int = 128
    num_classes: int = 0
    embedding: int = 128
    attention: int = 0
    weight_init: str = "orthogonal"

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C] in [-1, 1].

        Args:
          latents: [B, L], from N(0, I); L is 128 in the paper.
          labels: int [B], or weights of the classes [B, num_classes]; only with num_classes.
          train: use batch statistics and update the running ones, and take a power iteration.
        """
        layers, _, init, shared, first, blocks = start(self, latents, labels, train=train)
        condition = jnp.concatenate([shared, latents], 1)
        x = first(condition)

        def block(x: jax.Array, features: int, name: str, up: bool) -> jax.Array:
            narrow = x.shape[-1] // _BOTTLENECK
            h = x
            for letter, width, taps in zip(
                "abcd", (narrow, narrow, narrow, features), (1, 3, 3, 1), strict=True
            ):
                norm = ModulatedBatchNorm(layers.dense, init, name=f"{name}_norm_{letter}")
                h = nn.relu(norm(h, condition, train=train))
                if letter == "b" and up:
                    h = upsample(h)
                conv = functools.partial(layers.conv, width, (taps, taps), kernel_init=init)
                h = conv(name=f"{name}_conv_{letter}")(h)
            x = x[..., :features]
            return block_output(h + (upsample(x) if up else x))

        for i, features in enumerate(blocks):
            x = block(x, x.shape[-1], f"block{i}a", up=False)
            x = block(x, features, f"block{i}b", up=True)
            if min(x.shape[1:3]) == self.attention:
                x = SelfAttention(layers.conv, init, name="attention")(x)
        x = nn.relu(BatchNorm(name="norm")(x, train=train))
        return jnp.tanh(layers.conv(self.image_shape[2], (3, 3), kernel_init=init, name="image")(x))


class Discriminator(nn.Module):
    """Map images to one logit each.

    Attributes:
      width: channels of the first convolution; 128 in the paper.
      num_classes: 0 for an unconditional discriminator.
      head: the last layers.
      attention: as the generator's.
      weight_init: see `resnet_gan.initializers`.
    """

    width: int = 128
    num_classes: int = 0
    head: Head = Head()
    attention: int = 0
    weight_init: str = "orthogonal"

    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return logits [B], positive for real; arguments as in `outputs`."""
        return self.outputs(images, labels, train=train).logits

    @nn.compact
    def outputs(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> Outputs:
        """Return logits, features and head outputs.

        Args:
          images: [B, H, W, C] in [-1, 1], see `plans.plan`.
          labels: int [B]; only with num_classes.
          train: take a power iteration.
        """
        shape = plan(*images.shape[1:3], "biggan")
        layers = disc_layers("spectral", train=train)
        _, init = initializers(self.weight_init)
        first, *rest = (n * self.width for n in shape.discriminator)

        def block(x: jax.Array, features: int, name: str, halve: bool) -> jax.Array:
            narrow, h = features // _BOTTLENECK, x
            for letter, width, taps in zip(
                "abcd", (narrow, narrow, narrow, features), (1, 3, 3, 1), strict=True
            ):
                h = nn.relu(h)
                if letter == "d" and halve:
                    x, h = avg_pool(x), avg_pool(h)
                conv = functools.partial(layers.conv, width, (taps, taps), kernel_init=init)
                h = conv(name=f"{name}_conv_{letter}")(h)
            if more := features - x.shape[-1]:
                shortcut = layers.conv(more, (1, 1), kernel_init=init, name=f"{name}_shortcut")
                x = jnp.concatenate([x, shortcut(x)], -1)
            return block_output(x + h)

        x = with_class_planes(images, labels, num_classes=self.num_classes, head=self.head)
        x = layers.conv(first, (3, 3), kernel_init=init, name="image")(x)
        for i, features in enumerate(rest):
            x = block(x, features, f"block{i}a", halve=i < shape.halvings)
            x = block(x, features, f"block{i}b", halve=False)
            if i < shape.halvings and min(x.shape[1:3]) == self.attention:
                x = SelfAttention(layers.conv, init, name="attention")(x)
        x = nn.relu(x).sum((1, 2))
        return apply_head(
            layers, x, x, labels, num_classes=self.num_classes, head=self.head, kernel_init=init
        )
