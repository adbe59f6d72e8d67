"""The residual generator and discriminator of SNGAN and WGAN-GP.

Miyato et al. 2018 (arXiv:1802.05957, appendix B, tables 4 to 6) and, at 32 px, Gulrajani et al.
2017 (arXiv:1704.00028, appendix), which are the same networks up to `width`, `norm` and `pool`.
Given classes, the generator has conditional BatchNorm and the discriminator is a projection
discriminator (arXiv:1802.05637, equation 3); other ways are in `gen_norm` and `heads`.

Weights start Xavier-uniform, times sqrt(2) inside the residual branches, as in the authors' code.

Deviations: sizes between those of the papers take the plan of the next smaller one, and 64 px that
of the authors' code, as no table has it; from 48 px on WGAN-GP's are SNGAN's too. A 1x1
convolution commutes with nearest up-sampling and with average pooling, and is done at the smaller
size: the same function at a quarter of the cost.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.compute import block_output
from gan_jax.errors import UserError, check_choice
from gan_jax.models.disc_norm import disc_layers
from gan_jax.models.gen_norm import Normalize, gen_norm, with_class
from gan_jax.models.heads import Head, Outputs, judge, with_planes
from gan_jax.models.layers import Conv, avg_pool

NORMS = ("spectral", "layer", "none")
POOLS = ("sum", "mean")


class Plan(NamedTuple):
    """Channels of the networks for a size of images, in units of their `width`.

    Attributes:
      generator: of the dense layer, then of each block, all of which double the size.
      discriminator: of each block.
      halvings: how many of the discriminator's blocks halve the size, counted from the first.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    halvings: int

    @property
    def divisor(self) -> int:
        """What the sides of an image must divide by."""
        return 1 << max(len(self.generator) - 1, self.halvings)


# By the least shorter side: the plan of an image is the last that is not above it.
PLANS = {
    16: Plan((1, 1, 1), (1, 1, 1, 1), 2),  # for tiny images: that of 32 px without a doubling
    32: Plan((1, 1, 1, 1), (1, 1, 1, 1), 2),  # CIFAR-10, table 4
    48: Plan((8, 4, 2, 1), (1, 2, 4, 8, 16), 4),  # STL-10, table 5
    64: Plan((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),  # the authors' code
    128: Plan((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),  # ImageNet, table 6
}
_LIMIT = 256


def plan(height: int, width: int) -> Plan:
    """Return the plan for images of that size.

    Raises:
      UserError: too small, too large, or not divisible by what the plan halves.
    """
    short = min(height, width)
    found = [PLANS[side] for side in PLANS if side <= short < _LIMIT]
    if not found:
        raise UserError(
            f"resnet: images of {height}x{width} px, the shorter side must be from {min(PLANS)} to"
            f" {_LIMIT - 1} px: set another size, such as --config.data.size=32,32"
        )
    if height % found[-1].divisor or width % found[-1].divisor:
        raise UserError(
            f"resnet: images of {height}x{width} px, at this size both sides must divide by"
            f" {found[-1].divisor}: set another size, such as --config.data.size=32,32"
        )
    return found[-1]


def _xavier(gain: float = 1.0) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


_BRANCH_INIT, _INIT = _xavier(2**0.5), _xavier()


def _double(x: jax.Array) -> jax.Array:
    """Repeat each pixel 2 x 2 times."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


class Generator(nn.Module):
    """Map latents to images.

    Attributes:
      image_shape: (height, width, channels), see `plan`.
      width: channels of the last block, next to the image: 256 for SNGAN and 128 for WGAN-GP at 32
        px, 64 from 48 px on.
      num_classes: 0 for an unconditional generator.
      conditional: one of gen_norm.GEN_CONDITIONALS.
    """

    image_shape: tuple[int, int, int]
    width: int = 256
    num_classes: int = 0
    conditional: str = "batch_norm"

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return images [B, H, W, C] in [-1, 1].

        Args:
          latents: [B, L], from N(0, I); L is 128 in the papers.
          labels: int [B]; only with num_classes.
          train: use and move the batch statistics.
        """
        height, width, channels = self.image_shape
        first, *blocks = (n * self.width for n in plan(height, width).generator)
        base = (height >> len(blocks), width >> len(blocks))
        x = nn.Dense(base[0] * base[1] * first, kernel_init=_INIT, name="dense")(
            with_class(latents, labels, self.num_classes if self.conditional == "concat" else 0)
        )
        x = x.reshape(x.shape[0], *base, first)
        last, norm = (
            gen_norm(self.conditional, latents, labels, num_classes=classes, train=train)
            for classes in (0, self.num_classes)  # the last layer is not given the class
        )
        for i, features in enumerate(blocks):
            x = self._block(x, norm, features, f"block{i}")
        x = nn.relu(last(x, "norm"))
        return jnp.tanh(Conv(channels, (3, 3), kernel_init=_INIT, name="image")(x))

    def _block(self, x: jax.Array, norm: Normalize, features: int, name: str) -> jax.Array:
        def conv(x: jax.Array, layer: str) -> jax.Array:
            return Conv(features, (3, 3), kernel_init=_BRANCH_INIT, name=f"{name}_{layer}")(x)

        shortcut = Conv(features, (1, 1), kernel_init=_INIT, name=f"{name}_shortcut")(x)
        x = conv(_double(nn.relu(norm(x, f"{name}_norm_a"))), "conv_a")
        x = conv(nn.relu(norm(x, f"{name}_norm_b")), "conv_b")
        return block_output(x + _double(shortcut))


class Discriminator(nn.Module):
    """Map images to one logit each.

    Attributes:
      width: channels of the first block, next to the image: 128 at 32 px, 64 from 48 px on.
      num_classes: 0 for an unconditional discriminator.
      norm: "spectral" (SNGAN), "none" (WGAN-GP on CIFAR-10) or "layer" (before each ReLU of the
        blocks, not in the first block, as in WGAN-GP's code).
      pool: "sum" (SNGAN) or "mean" (WGAN-GP) over the pixels before the last layer.
      head: its last layers.
    """

    width: int = 128
    num_classes: int = 0
    norm: str = "spectral"
    pool: str = "sum"
    head: Head = Head()

    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Return logits [B], positive for real; arguments as of `outputs`."""
        return self.outputs(images, labels, train=train).logits

    @nn.compact
    def outputs(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> Outputs:
        """Return all that the discriminator says.

        Args:
          images: [B, H, W, C] in [-1, 1], see `plan`.
          labels: int [B]; only with num_classes.
          train: take a power iteration; only matters with norm "spectral".

        Raises:
          UserError: for sizes, and values of norm and pool, that are not known.
        """
        check_choice("model.disc_norm", self.norm, NORMS)
        check_choice("model.pool", self.pool, POOLS)
        shape = plan(*images.shape[1:3])
        layers = disc_layers(self.norm, train=train)
        x = images
        if self.num_classes and self.head.conditional == "concat":
            x = with_planes(images, labels, self.num_classes)
        for i, factor in enumerate(shape.discriminator):
            features, halve, name = factor * self.width, i < shape.halvings, f"block{i}"
            # The first block sees pixels: no activation comes before it.
            hidden, h = features, x
            if i:
                hidden, h = x.shape[-1], nn.relu(layers.norm(f"{name}_norm_a")(x))
            h = layers.conv(hidden, (3, 3), kernel_init=_BRANCH_INIT, name=f"{name}_conv_a")(h)
            if i:
                h = layers.norm(f"{name}_norm_b")(h)
            h = layers.conv(features, (3, 3), kernel_init=_BRANCH_INIT, name=f"{name}_conv_b")(
                nn.relu(h)
            )
            if halve:
                x, h = avg_pool(x), avg_pool(h)
            if halve or x.shape[-1] != features:
                x = layers.conv(features, (1, 1), kernel_init=_INIT, name=f"{name}_shortcut")(x)
            x = block_output(x + h)
        # Float32 whatever comes before: no half-precision logits in a loss.
        x = nn.relu(x)
        x = x.sum((1, 2)) if self.pool == "sum" else x.mean((1, 2))
        return judge(
            layers,
            x,
            x,
            labels,
            num_classes=self.num_classes,
            head=self.head,
            kernel_init=_INIT,
        )
