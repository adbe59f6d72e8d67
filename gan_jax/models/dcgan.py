"""DCGAN: the generator and discriminator of Radford et al. 2015 (arXiv:1511.06434).

Their guidelines: strided convolutions instead of pooling, BatchNorm except in the generator's
output and the discriminator's input, ReLU in the generator with a final tanh, LeakyReLU 0.2 in the
discriminator, weights from N(0, 0.02^2).

Deviations: kernels are 4x4 as in the authors' PyTorch successor (the paper's figure has 5x5), which
covers every output pixel equally often at stride 2; the number of stages follows the image size, so
that 16, 28, 32, 64 px and non-square sizes work; class conditioning is not in the paper, see
`gen_norm` and `heads`; the discriminator may have a normalisation other than BatchNorm, and then
has a bias in every layer.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.disc_norm import disc_layers
from gan_jax.models.blocks.gen_norm import Reference, gen_norm, with_class
from gan_jax.models.blocks.heads import Head, Outputs, apply_head, with_class_planes
from gan_jax.models.blocks.inits import KERNEL_INIT, scale_init
from gan_jax.models.blocks.layers import ConvTranspose, Dense
from gan_jax.parallel.precision import block_output


def stages(height: int, width: int) -> int:
    """Return how often an image can be halved until a side is odd or would fall below 4 px.

    64 px -> 4 stages (down to 4 px), 28 px -> 2 stages (down to 7 px).

    Raises:
      UserError: for fewer than 2.
    """
    count, sides = 0, (height, width)
    while all(side % 2 == 0 and side >= 8 for side in sides):
        count, sides = count + 1, (sides[0] // 2, sides[1] // 2)
    if count < 2:
        raise UserError(
            f"dcgan: images of {height}x{width} px, both sides must be at least 16 px and divide by"
            " 4: set a larger size, such as --config.data.size=32,32"
        )
    return count


class Generator(nn.Module):
    """Map latents to images by transposed convolutions.

    Attributes:
      image_shape: (height, width, channels).
      width: channels before the last layer; doubles with every stage towards the latents.
      num_classes: 0 for an unconditional generator.
      conditional: one of gen_norm.GEN_CONDITIONALS.
      reference: images of the reference batch of virtual batch normalisation; 0 for BatchNorm.
    """

    image_shape: tuple[int, int, int]
    width: int = 64
    num_classes: int = 0
    conditional: str = "concat"
    reference: int = 0

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C] in [-1, 1].

        Args:
          latents: [B, L], from N(0, I).
          labels: int [B], or weights of the classes [B, num_classes]; only with num_classes.
          train: use batch statistics and update the running ones.
        """
        height, width, channels = self.image_shape
        count = stages(height, width)
        if self.reference:
            latents, labels = Reference(self.reference, self.num_classes, name="reference")(
                latents, labels
            )
        x = with_class(latents, labels, self.num_classes if self.conditional == "concat" else 0)
        norm = gen_norm(
            self.conditional,
            latents,
            labels,
            num_classes=self.num_classes,
            train=train,
            reference=self.reference,
            scale_init=scale_init,
        )
        features = self.width << (count - 1)
        base = (height >> count, width >> count)
        # Equivalent to the paper's transposed convolution of a single pixel.
        x = Dense(
            base[0] * base[1] * features, use_bias=False, kernel_init=KERNEL_INIT, name="dense"
        )(x)
        x = x.reshape(x.shape[0], *base, features)
        x = nn.relu(norm(x, "norm0"))
        for i in range(1, count):
            x = ConvTranspose(
                features >> i,
                (4, 4),
                (2, 2),
                padding=1,
                use_bias=False,
                kernel_init=KERNEL_INIT,
                name=f"up{i}",
            )(x)
            x = block_output(nn.relu(norm(x, f"norm{i}")))
        x = ConvTranspose(
            channels, (4, 4), (2, 2), padding=1, kernel_init=KERNEL_INIT, name="image"
        )(x)
        return jnp.tanh(x[self.reference :])


class Discriminator(nn.Module):
    """Map images to one logit each by strided convolutions.

    Attributes:
      width: channels of the first layer; doubles with every stage.
      num_classes: 0 for an unconditional discriminator.
      norm: one of disc_norm.DISC_NORMS; the paper's is "batch".
      head: the last layers.
    """

    width: int = 64
    num_classes: int = 0
    norm: str = "batch"
    head: Head = Head()

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
          images: [B, H, W, C] in [-1, 1], all real or all generated: BatchNorm mixes a batch.
          labels: int [B]; only with num_classes.
          train: use batch statistics and update the running ones, or take a power iteration.
        """
        layers = disc_layers(self.norm, train=train, scale_init=scale_init)
        x = with_class_planes(images, labels, num_classes=self.num_classes, head=self.head)
        for i in range(stages(*images.shape[1:3])):
            x = layers.conv(
                self.width << i,
                (4, 4),
                (2, 2),
                padding=1,
                use_bias=i == 0 or self.norm != "batch",
                kernel_init=KERNEL_INIT,
                name=f"down{i}",
            )(x)
            if i:
                x = layers.norm(f"norm{i}")(x)
            x = block_output(nn.leaky_relu(x, 0.2))
        return apply_head(
            layers,
            x.reshape(x.shape[0], -1),
            x.sum((1, 2)),
            labels,
            num_classes=self.num_classes,
            head=self.head,
            kernel_init=KERNEL_INIT,
        )
