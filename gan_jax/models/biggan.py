"""The generator of BigGAN: every block is conditioned on the class embedding and latents.

Brock et al. 2018 (arXiv:1809.11096, appendix B, and the author's PyTorch code). The latents are
split into equal parts, one for the first layer and one for each block. The scale and bias of a
block's BatchNorms are linear in its part concatenated with a class embedding that all blocks share.
Weights are spectrally normalised, except for that embedding, and initialised orthogonally. The
discriminator is `resnet_gan.Discriminator` with plan "biggan", wide, with attention.

Deviations: without classes the BatchNorms are conditioned on the latents only; 1x1 convolutions
come before up-sampling, with which they commute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.attention import SelfAttention
from gan_jax.models.blocks.disc_norm import DiscLayers, Initializer, disc_layers
from gan_jax.models.blocks.layers import Embed, upsample
from gan_jax.models.blocks.norm import BatchNorm, ModulatedBatchNorm
from gan_jax.models.plans import plan
from gan_jax.models.resnet_gan import initializers
from gan_jax.parallel.precision import block_output


def check_latent(latent: int, height: int, width: int, codes: int = 0) -> None:
    """Raise UserError unless the latents split equally among the first layer and the blocks.

    Args:
      latent: dimensions of the latents.
      height, width: of the images [px].
      codes: dimensions of InfoGAN's codes, appended to the latents.
    """
    parts, whole = len(plan(height, width, "biggan").generator), latent + codes
    if whole % parts or whole < parts:
        near = max(whole // parts, codes // parts + 1) * parts - codes
        beside = f" and {codes} numbers of codes" if codes else ""
        raise UserError(
            f"model.latent={latent}{beside}: biggan cuts the latents into {parts} equal parts at"
            f" this size of images: use {near} or {near + parts}"
        )


class Start(NamedTuple):
    """What the generators of BigGAN and BigGAN-deep have in common.

    Attributes:
      layers: constructors of spectrally normalised layers.
      branch, init: see `resnet_gan.initializers`.
      shared: [B, E], the embedding of the class; E is 0 without classes.
      first: the first layer, [B, F] -> [B, h, w, C].
      blocks: channels after each doubling of the size.
    """

    layers: DiscLayers
    branch: Initializer
    init: Initializer
    shared: jax.Array
    first: Callable[[jax.Array], jax.Array]
    blocks: list[int]


def start(
    generator: nn.Module, latents: jax.Array, labels: jax.Array | None, *, train: bool
) -> Start:
    """Return a generator's common parts; call it inside its compact method.

    Args:
      generator: with the attributes of `Generator`.
      latents, labels, train: as the generator was given them.
    """
    height, width, _ = generator.image_shape
    layers = disc_layers("spectral", train=train)
    branch, init = initializers(generator.weight_init)
    channels, *blocks = (n * generator.width for n in plan(height, width, "biggan").generator)
    size = (height >> len(blocks), width >> len(blocks), channels)
    shared = latents[:, :0]
    if generator.num_classes:
        # Without spectral normalisation, as in the authors' code.
        embed = Embed(generator.num_classes, generator.embedding, embedding_init=init, name="class")
        shared = embed(labels).astype(latents.dtype)

    def first(given: jax.Array) -> jax.Array:
        dense = layers.dense(size[0] * size[1] * size[2], kernel_init=init, name="dense")
        return dense(given).reshape(-1, *size)

    return Start(layers, branch, init, shared, first, blocks)


class Generator(nn.Module):
    """Map latents to images.

    Attributes:
      image_shape: (height, width, channels), see `plans.plan`.
      width: channels of the last block of the 128 px plan; 96 in the paper.
      num_classes: 0 for an unconditional generator.
      embedding: dimensions of the class embedding; 128 in the paper.
      attention: shorter side of the feature maps with self-attention [px]; 0 for none.
      weight_init: see `resnet_gan.initializers`.
    """

    image_shape: tuple[int, int, int]
    width: int = 96
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
          latents: [B, L], from N(0, I); see `check_latent`.
          labels: int [B], or weights of the classes [B, num_classes]; only with num_classes.
          train: use batch statistics and update the running ones, and take a power iteration.
        """
        layers, branch, init, shared, first, blocks = start(self, latents, labels, train=train)
        part, *parts = jnp.split(latents, len(blocks) + 1, axis=1)
        parts = [jnp.concatenate([shared, each], 1) for each in parts]
        x = first(part)
        norm = functools.partial(ModulatedBatchNorm, layers.dense, init)
        for i, (features, part) in enumerate(zip(blocks, parts, strict=True)):
            name = f"block{i}"
            conv = functools.partial(layers.conv, features, (3, 3), kernel_init=branch)
            shortcut = layers.conv(features, (1, 1), kernel_init=init, name=f"{name}_shortcut")(x)
            h = nn.relu(norm(name=f"{name}_norm_a")(x, part, train=train))
            h = conv(name=f"{name}_conv_a")(upsample(h))
            h = nn.relu(norm(name=f"{name}_norm_b")(h, part, train=train))
            x = block_output(conv(name=f"{name}_conv_b")(h) + upsample(shortcut))
            if min(x.shape[1:3]) == self.attention:
                x = SelfAttention(layers.conv, init, name="attention")(x)
        x = nn.relu(BatchNorm(name="norm")(x, train=train))
        return jnp.tanh(layers.conv(self.image_shape[2], (3, 3), kernel_init=init, name="image")(x))
