"""The residual generator and discriminator of SNGAN, WGAN-GP and SAGAN.

Miyato et al. 2018 (arXiv:1802.05957, appendix B) and, at 32 px, Gulrajani et al. 2017
(arXiv:1704.00028, appendix), which are the same networks up to `width`, `norm` and `pool`.
With classes, the generator has conditional BatchNorm and the discriminator is a projection
discriminator (arXiv:1802.05637); for alternatives see `gen_norm` and `heads`.

With a spectrally normalised generator, attention and a wide discriminator they are the networks of
SAGAN (Zhang et al. 2018, arXiv:1805.08318). BigGAN uses this discriminator too; its generator is in
`biggan.py`. The generator's blocks are in `gen_blocks.py`: residual, or DenseNet's.

Weights are initialised Xavier-uniform, times sqrt(2) inside the residual branches, as in SNGAN's
code.

Deviations: for sizes see `plans.py`; from 48 px on, WGAN-GP's networks are SNGAN's too. A 1x1
convolution commutes with nearest up-sampling and with average pooling and is done at the smaller
size: the same function at a quarter of the cost.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import check_choice
from gan_jax.models.blocks.attention import SelfAttention
from gan_jax.models.blocks.disc_norm import Initializer, disc_layers
from gan_jax.models.blocks.gen_blocks import BLOCKS
from gan_jax.models.blocks.gen_norm import gen_norm, with_class
from gan_jax.models.blocks.heads import Head, Outputs, apply_head, with_class_planes
from gan_jax.models.blocks.inits import KERNEL_INIT
from gan_jax.models.blocks.layers import avg_pool
from gan_jax.models.plans import plan
from gan_jax.parallel.precision import block_output

NORMS = ("spectral", "layer", "none")
POOLS = ("sum", "mean")
INITS = ("xavier", "orthogonal", "normal")


def initializers(name: str) -> tuple[Initializer, Initializer]:
    """Return initialisers (3x3 convolutions in residual branches, all other weights).

    Args:
      name: "xavier" (SNGAN), "orthogonal" (BigGAN) or "normal" (standard deviation 0.02).
    """
    check_choice("model.init", name, INITS)
    if name == "xavier":
        return tuple(
            nn.initializers.variance_scaling(gain, "fan_avg", "uniform") for gain in (2.0, 1.0)
        )
    chosen = nn.initializers.orthogonal() if name == "orthogonal" else KERNEL_INIT
    return chosen, chosen


class Generator(nn.Module):
    """Map latents to images.

    Attributes:
      image_shape: (height, width, channels), see `plans.plan`.
      width: channels of the last block, next to the image: 256 for SNGAN and 128 for WGAN-GP at 32
        px, 64 from 48 px on.
      num_classes: 0 for an unconditional generator.
      conditional: one of gen_norm.GEN_CONDITIONALS.
      norm: "none" (SNGAN) or "spectral" (SAGAN), of its weights.
      attention: shorter side of the feature maps with self-attention [px]; 0 for none.
      block: a key of `gen_blocks.BLOCKS`.
    """

    image_shape: tuple[int, int, int]
    width: int = 256
    num_classes: int = 0
    conditional: str = "batch_norm"
    norm: str = "none"
    attention: int = 0
    block: str = "residual"

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C] in [-1, 1].

        Args:
          latents: [B, L], from N(0, I); L is 128 in the papers.
          labels: int [B], or weights of the classes [B, num_classes]; only with num_classes.
          train: use batch statistics and update the running ones, and take a power iteration.
        """
        height, width, channels = self.image_shape
        layers = disc_layers(self.norm, train=train)
        branch, init = initializers("xavier")
        block = BLOCKS[self.block]
        first, *blocks = (n * self.width for n in plan(height, width).generator)
        base = (height >> len(blocks), width >> len(blocks))
        x = with_class(latents, labels, self.num_classes if self.conditional == "concat" else 0)
        x = layers.dense(base[0] * base[1] * first, kernel_init=init, name="dense")(x)
        x = x.reshape(x.shape[0], *base, first)
        last, norm = (
            gen_norm(self.conditional, latents, labels, num_classes=classes, train=train)
            for classes in (0, self.num_classes)  # the last norm is unconditional
        )
        for i, features in enumerate(blocks):
            x = block(x, features, f"block{i}", norm=norm, conv=layers.conv, inits=(branch, init))
            x = block_output(x)
            if min(x.shape[1:3]) == self.attention:
                x = SelfAttention(layers.conv, init, name="attention")(x)
        x = nn.relu(last(x, "norm"))
        return jnp.tanh(layers.conv(channels, (3, 3), kernel_init=init, name="image")(x))


class Discriminator(nn.Module):
    """Map images to one logit each.

    Attributes:
      width: channels of the first block, next to the image: 128 at 32 px, 64 from 48 px on.
      num_classes: 0 for an unconditional discriminator.
      norm: "spectral" (SNGAN), "none" (WGAN-GP on CIFAR-10) or "layer" (before each ReLU of the
        blocks, not in the first block, as in WGAN-GP's code).
      pool: "sum" (SNGAN) or "mean" (WGAN-GP) over the pixels before the last layer.
      head: the last layers.
      attention: as the generator's.
      wide: whether a block widens in its first convolution (SAGAN, BigGAN) or its second (SNGAN).
      plan: "sngan" or "biggan", see `plans.py`.
      weight_init: see `initializers`.
    """

    width: int = 128
    num_classes: int = 0
    norm: str = "spectral"
    pool: str = "sum"
    head: Head = Head()
    attention: int = 0
    wide: bool = False
    plan: str = "sngan"
    weight_init: str = "xavier"

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
          train: take a power iteration; only matters with norm "spectral".

        Raises:
          UserError: for unsupported image sizes, or unknown values of norm and pool.
        """
        check_choice("model.disc.norm", self.norm, NORMS)
        check_choice("model.disc.pool", self.pool, POOLS)
        shape = plan(*images.shape[1:3], self.plan)
        layers = disc_layers(self.norm, train=train)
        branch, init = initializers(self.weight_init)
        x = with_class_planes(images, labels, num_classes=self.num_classes, head=self.head)
        for i, factor in enumerate(shape.discriminator):
            features, halve, name = factor * self.width, i < shape.halvings, f"block{i}"
            # The first block's input is the image: no activation before it.
            hidden, h = features, x
            if i:
                hidden = features if self.wide else x.shape[-1]
                h = nn.relu(layers.norm(f"{name}_norm_a")(x))
            h = layers.conv(hidden, (3, 3), kernel_init=branch, name=f"{name}_conv_a")(h)
            if i:
                h = layers.norm(f"{name}_norm_b")(h)
            h = layers.conv(features, (3, 3), kernel_init=branch, name=f"{name}_conv_b")(nn.relu(h))
            if halve:
                x, h = avg_pool(x), avg_pool(h)
            if halve or x.shape[-1] != features:
                x = layers.conv(features, (1, 1), kernel_init=init, name=f"{name}_shortcut")(x)
            x = block_output(x + h)
            if halve and min(x.shape[1:3]) == self.attention:
                x = SelfAttention(layers.conv, init, name="attention")(x)
        # Float32 whatever comes before: no half-precision logits in a loss.
        x = nn.relu(x)
        x = x.sum((1, 2)) if self.pool == "sum" else x.mean((1, 2))
        return apply_head(
            layers, x, x, labels, num_classes=self.num_classes, head=self.head, kernel_init=init
        )
