"""The growing generator and discriminator of ProGAN.

Karras et al. 2017 (arXiv:1710.10196, section 2 and appendix A). Both networks have one stage per
size, from about 4 px to the size of the images. The parameters of all stages exist from the start;
a pass runs the stages up to the one requested. `fade` blends a stage in: at 0 the image is the
upsampled image of the stage before, at 1 that of the new stage alone.

Deviations: the minibatch standard deviation is taken over groups of four neighbours in the batch
(the authors' code: four images at a stride of batch / 4; with the paper's settings, 16), so that
groups do not depend on how the batch is spread over devices; sizes other than powers of two start
from 5, 6 or 7 px; the one-hot class is appended to the latents, as in the authors' code, and
conditions the discriminator as described in `heads`.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError
from gan_jax.models.blocks.disc_norm import DiscLayers
from gan_jax.models.blocks.equalized import EqualizedConv, EqualizedDense
from gan_jax.models.blocks.gen_norm import with_class
from gan_jax.models.blocks.heads import Head, Outputs, apply_head, with_class_planes
from gan_jax.models.blocks.layers import Embed, avg_pool, upsample
from gan_jax.models.blocks.wide import affine, widen
from gan_jax.parallel.precision import block_output

GROUP = 4  # images per group of the minibatch standard deviation
_FIRST = 4096  # channels of stage 0, halved with every further stage, before the limit of 512


def stages(height: int, width: int) -> int:
    """Return the number of stages: 1 + the number of halvings that lead to 4 to 7 px.

    Raises:
      UserError: for sizes that do not halve that far.
    """
    count, sides = 1, (height, width)
    while min(sides) >= 8 and not (sides[0] % 2 or sides[1] % 2):
        count, sides = count + 1, (sides[0] // 2, sides[1] // 2)
    if not 4 <= min(sides) < 8:
        raise UserError(
            f"progan: images of {height}x{width} px, the shorter side must be 4 to 7 px times a"
            " power of two: set another size, such as --config.data.size=32,32"
        )
    return count


def channels(stage: int, width: int) -> int:
    """Return the channels of a stage, 0 the smallest; `width` is the maximum of all stages."""
    return max(min(_FIRST >> stage, 512) * width // 512, 1)


def pixel_norm(x: jax.Array) -> jax.Array:
    """Divide the channels of each pixel by their root mean square (section 4.2)."""
    square = jnp.square(widen(x)).mean(-1, keepdims=True)
    return affine(x, scale=jax.lax.rsqrt(square + 1e-8))


def minibatch_stddev(x: jax.Array) -> jax.Array:
    """Append a channel: the mean standard deviation over groups of images (section 3).

    Args:
      x: [B, H, W, C]; B is at most GROUP, or divides by it.

    Returns:
      [B, H, W, C + 1].
    """
    batch, group = x.shape[0], min(GROUP, x.shape[0])
    if batch % group:
        raise UserError(
            f"progan: a device has {batch} images of a batch, and their standard deviation is taken"
            f" in groups of {group}: set train.batch_size to a multiple of {group} x devices"
        )
    groups = widen(x).reshape(-1, group, *x.shape[1:])
    variance = jnp.square(groups - groups.mean(1, keepdims=True)).mean(1)
    mean = jnp.sqrt(variance + 1e-8).mean((1, 2, 3))
    mean = jnp.repeat(mean, group)[:, None, None, None]
    plane = jnp.broadcast_to(mean, (*x.shape[:3], 1)).astype(x.dtype)
    return jnp.concatenate([x, plane], -1)


class Generator(nn.Module):
    """Map latents to images of a stage.

    Attributes:
      image_shape: (height, width, channels) of the last stage, see `stages`.
      width: largest number of channels of a layer; 512 in the paper.
      num_classes: 0 for an unconditional generator.
    """

    image_shape: tuple[int, int, int]
    width: int = 512
    num_classes: int = 0

    @nn.compact
    def __call__(
        self,
        latents: jax.Array,
        labels: jax.Array | None = None,
        *,
        train: bool,
        stage: int | None = None,
        fade: jax.Array | float = 1.0,
    ) -> jax.Array:
        """Return images [B, H, W, C], not bounded, as the paper's are not.

        Args:
          latents: [B, L], from N(0, I); their length does not matter (section 4.2).
          labels: int [B], or weights of the classes [B, num_classes]; only with num_classes.
          train: unused; there are no statistics.
          stage: 0 the smallest; None the last.
          fade: how far this stage is blended in, in [0, 1].
        """
        height, width, colours = self.image_shape
        last = stages(height, width) - 1
        stage = last if stage is None else stage
        shape = (height >> last, width >> last, channels(0, self.width))

        def active(layer: nn.Module, x: jax.Array) -> jax.Array:
            return pixel_norm(nn.leaky_relu(layer(x), 0.2))

        def image(x: jax.Array, i: int) -> jax.Array:
            return EqualizedConv(colours, (1, 1), gain=1.0, name=f"stage{i}_image")(x)

        # Equivalent to the paper's 4x4 convolution of one pixel; the gain is from the code.
        x = EqualizedDense(
            shape[0] * shape[1] * shape[2], gain=2**0.5 / 4, use_bias=False, name="dense"
        )(pixel_norm(with_class(latents, labels, self.num_classes)))
        bias = self.param("dense_bias", nn.initializers.zeros, shape[2:], jnp.float32)
        x = affine(x.reshape(-1, *shape), offset=bias)
        x = pixel_norm(nn.leaky_relu(x, 0.2))
        x = active(EqualizedConv(shape[2], name="stage0_conv_b"), x)
        before, made = None, image(x, 0) if self._wants(0, stage) else None
        for i in range(1, (last if self.is_initializing() else stage) + 1):
            features, before = channels(i, self.width), made
            x = active(EqualizedConv(features, name=f"stage{i}_conv_a"), upsample(x))
            x = block_output(active(EqualizedConv(features, name=f"stage{i}_conv_b"), x))
            made = image(x, i) if self._wants(i, stage) else None
        return made if before is None else _blend(made, upsample(before), fade)

    def _wants(self, i: int, stage: int) -> bool:
        """Return whether to compute the image of stage i: all in init, else the last two."""
        return self.is_initializing() or i >= stage - 1


class Discriminator(nn.Module):
    """Map images of a stage to one logit each.

    Attributes:
      image_shape: as the generator's.
      width: as the generator's.
      num_classes: 0 for an unconditional discriminator.
      head: the last layers.
    """

    image_shape: tuple[int, int, int]
    width: int = 512
    num_classes: int = 0
    head: Head = Head()

    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, **arguments: Any
    ) -> jax.Array:
        """Return logits [B], larger for real; arguments as in `outputs`."""
        return self.outputs(images, labels, **arguments).logits

    @nn.compact
    def outputs(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        *,
        train: bool,
        stage: int | None = None,
        fade: jax.Array | float = 1.0,
    ) -> Outputs:
        """Return logits, features and head outputs.

        Args:
          images: [B, H, W, C], of the size of the stage.
          labels: int [B]; only with num_classes.
          train: unused; there are no statistics.
          stage: 0 the smallest; None the last.
          fade: how far this stage is blended in, in [0, 1].
        """
        last = stages(*self.image_shape[:2]) - 1
        stage = last if stage is None else stage
        images = with_class_planes(images, labels, num_classes=self.num_classes, head=self.head)

        def active(layer: nn.Module, x: jax.Array) -> jax.Array:
            return nn.leaky_relu(layer(x), 0.2)

        def features(images: jax.Array, i: int) -> jax.Array:
            width = channels(i, self.width)
            return active(EqualizedConv(width, (1, 1), name=f"stage{i}_image"), images)

        if self.is_initializing():  # create the parameters of all stages; a pass uses those of two
            for i in range(last - 1):
                features(images, i)
        x = features(images, stage)
        for i in range(stage, 0, -1):
            x = active(EqualizedConv(channels(i, self.width), name=f"stage{i}_conv_a"), x)
            x = active(EqualizedConv(channels(i - 1, self.width), name=f"stage{i}_conv_b"), x)
            x = block_output(avg_pool(x))
            if i == stage:
                x = _blend(x, features(avg_pool(images), i - 1), fade)
        x = active(EqualizedConv(channels(0, self.width), name="stage0_conv"), minibatch_stddev(x))
        x = x.reshape(x.shape[0], -1)
        x = active(EqualizedDense(channels(0, self.width), name="dense"), x)
        dense = functools.partial(EqualizedDense, gain=1.0)
        layers = DiscLayers(EqualizedConv, dense, Embed, lambda name: lambda x: x)
        return apply_head(
            layers,
            x,
            x,
            labels,
            num_classes=self.num_classes,
            head=self.head,
            kernel_init=nn.initializers.normal(1.0),
        )


def _blend(new: jax.Array, old: jax.Array, fade: jax.Array | float) -> jax.Array:
    return old + jnp.asarray(fade, new.dtype) * (new - old)
