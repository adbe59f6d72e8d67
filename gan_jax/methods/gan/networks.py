"""The generators and discriminators of GANs by name: `model.gen` and `model.disc`.

Each is a function of keywords: the fields of its section, and values from the task, such as the
image shape, the number of classes (0 for none) and the discriminator's head. A network without a
parameter `classes` is unconditional; a discriminator without `head` returns a real/fake logit only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import linen as nn

from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError, check_choice
from gan_jax.methods.gan.codes import Codes
from gan_jax.models import (
    biggan,
    biggan_deep,
    dcgan,
    lapgan,
    mlp_gan,
    progan,
    resnet_gan,
    tutorial,
)
from gan_jax.models.blocks import gen_blocks
from gan_jax.models.blocks.disc_norm import DISC_NORMS
from gan_jax.models.blocks.gen_norm import GEN_CONDITIONALS
from gan_jax.models.blocks.heads import Head
from gan_jax.models.plans import check_attention

Shape = tuple[int, int, int]


def dcgan_generator(
    *,
    image_shape: Shape,
    classes: int,
    width: int = 64,
    conditional: str = "default",
    reference_batch: int = 0,
) -> nn.Module:
    """Return DCGAN's generator.

    Args:
      image_shape, classes: of the data.
      width: channels of the layer next to the image.
      conditional: default (concat) | concat | batch_norm | self_modulation.
      reference_batch: images of the reference batch of virtual batch normalisation, which replaces
        BatchNorm; 0: none.
    """
    dcgan.stages(*image_shape[:2])
    chosen = _conditional(conditional, classes, "concat")
    if reference_batch < 0:
        raise UserError(f"model.gen.reference_batch={reference_batch}: at least 0, which is none")
    if reference_batch and chosen != "concat":
        raise UserError(
            f"model.gen.reference_batch={reference_batch} with model.gen.conditional={chosen}:"
            " virtual batch normalisation has one scale for all images: set conditional=concat, or"
            " reference_batch=0"
        )
    return dcgan.Generator(image_shape, width, classes, chosen, reference_batch)


def dcgan_discriminator(
    *, classes: int, head: Head, width: int = 64, norm: str = "batch", minibatch_kernels: int = 0
) -> nn.Module:
    """Return DCGAN's discriminator.

    Args:
      classes: of the data.
      head: the discriminator's last layers.
      width: channels of the layer next to the image.
      norm: batch | layer | spectral | none.
      minibatch_kernels: number of kernels of minibatch discrimination; 0: none.
    """
    _check_norm(norm, DISC_NORMS)
    return dcgan.Discriminator(width, classes, norm, _with(head, minibatch_kernels))


def tutorial_generator(*, image_shape: Shape, width: int = 64) -> nn.Module:
    """Return the tutorial's generator; `width` is the channels of the layer next to the image."""
    tutorial.doublings(*image_shape[:2])
    return tutorial.Generator(image_shape, width)


def tutorial_discriminator(*, width: int = 64) -> nn.Module:
    """Return the tutorial's discriminator, with BatchNorm; `width` as in its generator."""
    return tutorial.Discriminator(width)


def resnet_generator(
    *,
    image_shape: Shape,
    classes: int,
    width: int = 64,
    conditional: str = "default",
    norm: str = "none",
    attention: int = 0,
    block: str = "residual",
) -> nn.Module:
    """Return the residual generator of SNGAN and its successors.

    Args:
      image_shape, classes: of the data.
      width: channels of the layer next to the image.
      conditional: default (batch_norm) | concat | batch_norm | self_modulation.
      norm: none | spectral, of the weights.
      attention: shorter side of the feature maps with self-attention [px]; 0: none.
      block: residual | dense (DenseNet's).
    """
    check_choice("model.gen.norm", norm, ("none", "spectral"))
    check_choice("model.gen.block", block, gen_blocks.BLOCKS)
    check_attention(attention, *image_shape[:2])
    chosen = _conditional(conditional, classes, "batch_norm")
    return resnet_gan.Generator(image_shape, width, classes, chosen, norm, attention, block)


def resnet_discriminator(
    *,
    image_shape: Shape,
    classes: int,
    head: Head,
    width: int = 64,
    norm: str = "spectral",
    pool: str = "sum",
    attention: int = 0,
    wide: bool = False,
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return the residual discriminator of SNGAN and its successors.

    Args:
      image_shape, classes: of the data.
      head: the discriminator's last layers.
      width: channels of the layer next to the image.
      norm: spectral | layer | none.
      pool: sum | mean over the pixels before the last layer.
      attention: shorter side of the feature maps with self-attention [px]; 0: none.
      wide: whether a block changes its width in the first convolution, not the second.
      minibatch_kernels: number of kernels of minibatch discrimination; 0: none.
    """
    _check_norm(norm, resnet_gan.NORMS)
    check_choice("model.disc.pool", pool, resnet_gan.POOLS)
    check_attention(attention, *image_shape[:2])
    given = _with(head, minibatch_kernels)
    return resnet_gan.Discriminator(width, classes, norm, pool, given, attention, wide)


def biggan_generator(
    *,
    image_shape: Shape,
    classes: int,
    latent: int,
    codes: Codes,
    width: int = 96,
    attention: int = 0,
    class_embedding: int = 128,
    weight_init: str = "orthogonal",
) -> nn.Module:
    """Return BigGAN's generator.

    Args:
      image_shape, classes: of the data.
      latent: dimensions of the latents, which are split among the blocks.
      codes: InfoGAN's codes, appended to the latents.
      width: channels of the layer next to the image.
      attention: shorter side of the feature maps with self-attention [px]; 0: none.
      class_embedding: dimensions of the class embedding.
      weight_init: orthogonal | normal | xavier.
    """
    _check_biggan(image_shape, attention, weight_init)
    biggan.check_latent(latent, *image_shape[:2], codes.size)
    return biggan.Generator(image_shape, width, classes, class_embedding, attention, weight_init)


def biggan_discriminator(
    *,
    image_shape: Shape,
    classes: int,
    head: Head,
    width: int = 96,
    attention: int = 0,
    weight_init: str = "orthogonal",
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return BigGAN's discriminator, spectrally normalised; fields as in `biggan_generator`."""
    _check_biggan(image_shape, attention, weight_init)
    return resnet_gan.Discriminator(
        *(width, classes, "spectral", "sum", _with(head, minibatch_kernels), attention),
        wide=True,
        plan="biggan",
        weight_init=weight_init,
    )


def biggan_deep_generator(
    *,
    image_shape: Shape,
    classes: int,
    width: int = 128,
    attention: int = 0,
    class_embedding: int = 128,
    weight_init: str = "orthogonal",
) -> nn.Module:
    """Return BigGAN-deep's generator; fields as in `biggan_generator`."""
    _check_biggan(image_shape, attention, weight_init)
    given = (image_shape, width, classes, class_embedding, attention, weight_init)
    return biggan_deep.Generator(*given)


def biggan_deep_discriminator(
    *,
    image_shape: Shape,
    classes: int,
    head: Head,
    width: int = 128,
    attention: int = 0,
    weight_init: str = "orthogonal",
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return BigGAN-deep's discriminator; fields as in `biggan_discriminator`."""
    _check_biggan(image_shape, attention, weight_init)
    given = (width, classes, _with(head, minibatch_kernels), attention, weight_init)
    return biggan_deep.Discriminator(*given)


def progan_generator(*, image_shape: Shape, classes: int, width: int = 512) -> nn.Module:
    """Return ProGAN's growing generator; `width` is the channels of its smallest stages."""
    progan.stages(*image_shape[:2])
    return progan.Generator(image_shape, width, classes)


def progan_discriminator(
    *,
    image_shape: Shape,
    classes: int,
    head: Head,
    width: int = 512,
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return ProGAN's discriminator, which grows with the generator."""
    progan.stages(*image_shape[:2])
    return progan.Discriminator(image_shape, width, classes, _with(head, minibatch_kernels))


def mlp_generator(*, image_shape: Shape, classes: int, width: int = 1200) -> nn.Module:
    """Return the MLP generator of the first GANs, with hidden layers of `width` units."""
    mlp_gan.check_size(*image_shape[:2], False)
    return mlp_gan.Generator(image_shape, width, classes, False)


def mlp_discriminator(
    *,
    image_shape: Shape,
    classes: int,
    head: Head,
    width: int = 240,
    norm: str = "none",
    dropout: float = 0.0,
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return the MLP discriminator of the first GANs, with maxout units.

    Args:
      image_shape, classes: of the data.
      head: the discriminator's last layers.
      width: units per hidden layer.
      norm: none | spectral.
      dropout: rate of dropped units, in the updates of both networks; all passes of an example
        within an update share one mask.
      minibatch_kernels: number of kernels of minibatch discrimination; 0: none.
    """
    mlp_gan.check_size(*image_shape[:2], False)
    return _goodfellow_discriminator(
        classes, head, width, norm, dropout, minibatch_kernels, convolutional=False
    )


def conv2014_generator(*, image_shape: Shape, classes: int, width: int = 1200) -> nn.Module:
    """Return the convolutional generator of the first GANs; `width` as in `mlp_generator`."""
    mlp_gan.check_size(*image_shape[:2], True)
    return mlp_gan.Generator(image_shape, width, classes, True)


def conv2014_discriminator(
    *,
    image_shape: Shape,
    classes: int,
    head: Head,
    width: int = 240,
    norm: str = "spectral",
    dropout: float = 0.0,
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return the convolutional discriminator of the first GANs; fields: see `mlp_discriminator`."""
    mlp_gan.check_size(*image_shape[:2], True)
    return _goodfellow_discriminator(
        classes, head, width, norm, dropout, minibatch_kernels, convolutional=True
    )


def lapgan_generator(
    *, classes: int, width: int = 64, coarsest: int = 8, coarse_width: int = 1200
) -> nn.Module:
    """Return the generator of a level of LAPGAN's pyramid above the smallest.

    Args:
      classes: of the data.
      width: channels of the hidden layers.
      coarsest: smallest allowed shorter side of the smallest level [px].
      coarse_width: units of the hidden layers of the smallest level's generator.
    """
    if coarsest < 5 or coarse_width < 2:
        raise UserError(
            f"model.gen.coarsest={coarsest} and coarse_width={coarse_width}: at least 5 px and 2"
            " units"
        )
    return lapgan.Generator(width, classes)


def lapgan_discriminator(
    *,
    classes: int,
    head: Head,
    coarse: int = 0,
    width: int = 64,
    norm: str = "none",
    dropout: float = 0.0,
    minibatch_kernels: int = 0,
) -> nn.Module:
    """Return the discriminator of a level of LAPGAN's pyramid.

    Args:
      classes, head, width, norm, dropout, minibatch_kernels: see `mlp_discriminator`.
      coarse: units of the hidden layers at the smallest level; 0 at the other levels.
    """
    _check_norm(norm, lapgan.NORMS)
    return lapgan.Discriminator(
        *(coarse or width, classes, norm, _with(head, minibatch_kernels)),
        coarse=bool(coarse),
        dropout_rate=_dropout(dropout),
    )


GENERATORS = Choice(
    {
        "dcgan": dcgan_generator,
        "tutorial": tutorial_generator,
        "resnet": resnet_generator,
        "biggan": biggan_generator,
        "biggan_deep": biggan_deep_generator,
        "progan": progan_generator,
        "mlp": mlp_generator,
        "conv2014": conv2014_generator,
        "lapgan": lapgan_generator,
    },
    ("image_shape", "classes", "latent", "codes"),
    "dcgan",
    nn.Module,
)
DISCRIMINATORS = Choice(
    {
        "dcgan": dcgan_discriminator,
        "tutorial": tutorial_discriminator,
        "resnet": resnet_discriminator,
        "biggan": biggan_discriminator,
        "biggan_deep": biggan_deep_discriminator,
        "progan": progan_discriminator,
        "mlp": mlp_discriminator,
        "conv2014": conv2014_discriminator,
        "lapgan": lapgan_discriminator,
    },
    ("image_shape", "classes", "head", "coarse"),
    "dcgan",
    nn.Module,
)


def _conditional(chosen: str, classes: int, own: str) -> str:
    """Return how a generator is conditioned on the class; "default" means `own`."""
    check_choice("model.gen.conditional", chosen, ("default", *GEN_CONDITIONALS))
    if not classes and chosen in ("concat", "batch_norm"):
        raise UserError(
            f"model.gen.conditional={chosen} conditions the generator on classes, and"
            " model.conditional=none has none: set model.conditional=projection, or"
            " model.gen.conditional=default"
        )
    return own if chosen == "default" else chosen


def _check_norm(norm: str, allowed: Any) -> None:
    check_choice("model.disc.norm", norm, allowed)


def _with(head: Head, minibatch_kernels: int) -> Head:
    return dataclasses.replace(head, minibatch_kernels=minibatch_kernels)


def _dropout(rate: float) -> float:
    if not 0 <= rate < 1:
        raise UserError(f"model.disc.dropout={rate}: in [0, 1), 0 drops nothing")
    return rate


def _goodfellow_discriminator(
    classes: int,
    head: Head,
    width: int,
    norm: str,
    dropout: float,
    minibatch_kernels: int,
    *,
    convolutional: bool,
) -> nn.Module:
    _check_norm(norm, mlp_gan.NORMS)
    given = (width, classes, norm, _with(head, minibatch_kernels), convolutional)
    return mlp_gan.Discriminator(*given, _dropout(dropout))


def _check_biggan(shape: Shape, attention: int, weight_init: str) -> None:
    check_choice("model.*.weight_init", weight_init, resnet_gan.INITS)
    check_attention(attention, *shape[:2], "biggan")
