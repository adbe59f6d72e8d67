"""The generator of BigGAN: class embedding and latents reach every block.

Brock et al. 2018 (arXiv:1809.11096, appendix B, and the author's PyTorch code). The latents are cut
into equal parts, one for the first layer and one for each block; a block's BatchNorms take scale
and bias from its part beside an embedding of the class that all blocks share. Weights are
spectrally normalised, but for that embedding, and start orthogonal. The discriminator is
`resnet_gan.Discriminator` with plan "biggan", wide, with attention.

Deviations: without classes the BatchNorms see the latents only; a 1x1 convolution is done before
the up-sampling, which it commutes with.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.compute import block_output
from gan_jax.errors import UserError
from gan_jax.models.attention import SelfAttention
from gan_jax.models.disc_norm import disc_layers
from gan_jax.models.norm import BatchNorm, ModulatedBatchNorm
from gan_jax.models.plans import plan
from gan_jax.models.resnet_gan import double, initializers


def check_latent(latent: int, height: int, width: int) -> None:
    """Raise UserError unless the latents divide into one part a block and one for the first layer.

    Args:
      latent: their dimensions.
      height, width: of the images [px].
    """
    parts = len(plan(height, width, "biggan").generator)
    if latent % parts or latent < parts:
        near = max(latent // parts, 1) * parts
        raise UserError(
            f"model.latent={latent}: biggan cuts the latents into {parts} equal parts at this size"
            f" of images: use {near} or {near + parts}"
        )


class Generator(nn.Module):
    """Map latents to images.

    Attributes:
      image_shape: (height, width, channels), see `plans.plan`.
      width: channels of the last block of the 128 px plan; 96 in the paper.
      num_classes: 0 for an unconditional generator.
      embedding: dimensions of the class embedding; 128 in the paper.
      attention: shorter side of the features that attend to themselves [px]; 0 for none.
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
          labels: int [B]; only with num_classes.
          train: use and move the batch statistics, and take a power iteration.
        """
        height, width, channels = self.image_shape
        layers = disc_layers("spectral", train=train)
        branch, init = initializers(self.weight_init)
        first, *blocks = (n * self.width for n in plan(height, width, "biggan").generator)
        base = (height >> len(blocks), width >> len(blocks))
        part, *parts = jnp.split(latents, len(blocks) + 1, axis=1)
        if self.num_classes:
            # As in the authors' code without spectral normalisation.
            embed = nn.Embed(self.num_classes, self.embedding, embedding_init=init, name="class")
            shared = embed(labels).astype(latents.dtype)
            parts = [jnp.concatenate([shared, each], 1) for each in parts]
        x = layers.dense(base[0] * base[1] * first, kernel_init=init, name="dense")(part)
        x = x.reshape(x.shape[0], *base, first)
        norm = functools.partial(ModulatedBatchNorm, layers.dense, init)
        for i, (features, part) in enumerate(zip(blocks, parts, strict=True)):
            name = f"block{i}"
            conv = functools.partial(layers.conv, features, (3, 3), kernel_init=branch)
            shortcut = layers.conv(features, (1, 1), kernel_init=init, name=f"{name}_shortcut")(x)
            h = nn.relu(norm(name=f"{name}_norm_a")(x, part, train=train))
            h = conv(name=f"{name}_conv_a")(double(h))
            h = nn.relu(norm(name=f"{name}_norm_b")(h, part, train=train))
            x = block_output(conv(name=f"{name}_conv_b")(h) + double(shortcut))
            if min(x.shape[1:3]) == self.attention:
                x = SelfAttention(layers.conv, init, name="attention")(x)
        x = nn.relu(BatchNorm(name="norm")(x, train=train))
        return jnp.tanh(layers.conv(channels, (3, 3), kernel_init=init, name="image")(x))
