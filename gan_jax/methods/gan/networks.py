"""The generators and discriminators that a GAN can be made of: `model.gen` and `model.disc`.

Each is a function of keywords: the fields of its section, and what the task gives: the shape of the
images, the number of classes (0 for none), the head that the discriminator ends in. A network
without a parameter for classes is unconditional, one without `head` says real or not and no more.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, build, parameters
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.terms import CLASS_TERMS, GRADIENT_TERMS
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
from gan_jax.objectives.weights import stage_of

Shape = tuple[int, int, int]
VIEW = 128  # dimensions of the embedding of term "views", as SimCLR's
PAIRED = ("lapgan", "progan")  # these generators and discriminators have each other only


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
      width: channels next to the image.
      conditional: default (concat) | concat | batch_norm | self_modulation.
      reference_batch: images of virtual batch normalisation's, in place of BatchNorm; 0: none.
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
      head: the last layers.
      width: channels next to the image.
      norm: batch | layer | spectral | none.
      minibatch_kernels: of minibatch discrimination; 0: none.
    """
    _check_norm(norm, DISC_NORMS)
    return dcgan.Discriminator(width, classes, norm, _with(head, minibatch_kernels))


def tutorial_generator(*, image_shape: Shape, width: int = 64) -> nn.Module:
    """Return the tutorial's generator; `width` channels next to the image."""
    tutorial.doublings(*image_shape[:2])
    return tutorial.Generator(image_shape, width)


def tutorial_discriminator(*, width: int = 64) -> nn.Module:
    """Return the tutorial's discriminator, with BatchNorm; `width` channels next to the image."""
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
    """Return the residual generator of SNGAN and of what followed it.

    Args:
      image_shape, classes: of the data.
      width: channels next to the image.
      conditional: default (batch_norm) | concat | batch_norm | self_modulation.
      norm: none | spectral, of the weights.
      attention: shorter side of features that attend to themselves [px]; 0: none.
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
    """Return the residual discriminator of SNGAN and of what followed it.

    Args:
      image_shape, classes: of the data.
      head: the last layers.
      width: channels next to the image.
      norm: spectral | layer | none.
      pool: sum | mean over the pixels before the last layer.
      attention: shorter side of features that attend to themselves [px]; 0: none.
      wide: whether blocks widen in their first convolution.
      minibatch_kernels: of minibatch discrimination; 0: none.
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
      latent: dimensions, which its blocks share.
      codes: beside the latents.
      width: channels next to the image.
      attention: shorter side of features that attend to themselves [px]; 0: none.
      class_embedding: dimensions.
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
    """Return BigGAN's discriminator, spectrally normalised; fields as of its generator."""
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
    """Return BigGAN-deep's generator; fields as of `biggan_generator`."""
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
    """Return BigGAN-deep's discriminator; fields as of `biggan_discriminator`."""
    _check_biggan(image_shape, attention, weight_init)
    given = (width, classes, _with(head, minibatch_kernels), attention, weight_init)
    return biggan_deep.Discriminator(*given)


def progan_generator(*, image_shape: Shape, classes: int, width: int = 512) -> nn.Module:
    """Return ProGAN's generator, which grows; `width` channels of its smallest stages."""
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
    """Return ProGAN's discriminator, which grows with its generator."""
    progan.stages(*image_shape[:2])
    return progan.Discriminator(image_shape, width, classes, _with(head, minibatch_kernels))


def mlp_generator(*, image_shape: Shape, classes: int, width: int = 1200) -> nn.Module:
    """Return the generator of 2014 with hidden layers of `width` units."""
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
    """Return the discriminator of 2014, of maxout units.

    Args:
      image_shape, classes: of the data.
      head: the last layers.
      width: units of a hidden layer.
      norm: none | spectral.
      dropout: share of its units that it drops while it trains either player, the same for an
        example and all that an update compares with it.
      minibatch_kernels: of minibatch discrimination; 0: none.
    """
    mlp_gan.check_size(*image_shape[:2], False)
    return _of_2014(classes, head, width, norm, dropout, minibatch_kernels, convolutional=False)


def conv2014_generator(*, image_shape: Shape, classes: int, width: int = 1200) -> nn.Module:
    """Return the convolutional generator of 2014; `width` units of its hidden layers."""
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
    """Return the convolutional discriminator of 2014; fields as of `mlp_discriminator`."""
    mlp_gan.check_size(*image_shape[:2], True)
    return _of_2014(classes, head, width, norm, dropout, minibatch_kernels, convolutional=True)


def lapgan_generator(
    *, classes: int, width: int = 64, coarsest: int = 8, coarse_width: int = 1200
) -> nn.Module:
    """Return the generator of a level of LAPGAN's pyramid above the smallest.

    Args:
      classes: of the data.
      width: channels.
      coarsest: least shorter side of the smallest level [px].
      coarse_width: units of the generator of the smallest level.
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
    """Return the discriminator of a level of LAPGAN's pyramid; fields as of `mlp_discriminator`.

    Args:
      classes, head, width, norm, dropout, minibatch_kernels: see there.
      coarse: units, at the smallest level; 0 at the others.
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
)


def make_networks(
    config: ConfigDict, spec: DataSpec, codes: Codes
) -> tuple[nn.Module, nn.Module, int]:
    """Return (generator, discriminator, number of classes that they are given).

    Args:
      config: the whole config; which heads the discriminator has follows from `terms`.
      spec: of the data, which give the size and the classes.
      codes: beside the latents.

    Raises:
      UserError: for sizes that do not fit, and networks that cannot be what is asked for.
    """
    model = config.model
    for name in PAIRED:
        if (model.gen.name == name) != (model.disc.name == name):
            raise UserError(
                f"model.gen.name={model.gen.name} with model.disc.name={model.disc.name}: those of"
                f" {name} have each other only: name both, or neither"
            )
    classes = class_count(config, spec)
    given = dict(image_shape=spec.image_shape, classes=classes)
    generator = build("model.gen", model.gen, GENERATORS, latent=model.latent, codes=codes, **given)
    head = make_head(config, spec, codes)
    discriminator = build("model.disc", model.disc, DISCRIMINATORS, head=head, **given)
    return generator, discriminator, classes


def class_count(config: ConfigDict, spec: DataSpec) -> int:
    """Return how many classes the networks are given, 0 for none.

    Raises:
      UserError: for a condition without labels, or networks that can't be given classes.
    """
    conditional = config.model.conditional.name
    if conditional == "none":
        return 0
    for role, choice in (("gen", GENERATORS), ("disc", DISCRIMINATORS)):
        name = config.model[role].name
        if "classes" not in parameters(choice.factory(f"model.{role}.name", name)):
            raise UserError(
                f"model.{role}.name={name} is unconditional: set model.conditional=none"
            )
    if not spec.num_classes:
        raise UserError(
            f"model.conditional={conditional} needs labels, and {spec.unlabelled}: use a folder"
            " with one sub-folder a class, or --config.model.conditional=none"
        )
    # A semi-supervised GAN is not given classes: its discriminator says them.
    return 0 if conditional == "semi_supervised" else spec.num_classes


def make_head(config: ConfigDict, spec: DataSpec, codes: Codes) -> Head:
    """Return the discriminator's last layers: what the terms ask, and `model.conditional`.

    Raises:
      UserError: a term without what it is about.
    """
    terms, conditional = config.terms, config.model.conditional
    asked = {
        name: any(name in terms[player] for player in ("disc", "gen"))
        for name in ("rotation", "codes", "views")
    }
    linear = []
    if asked["rotation"]:
        height, width = spec.image_shape[:2]
        if height != width:
            raise UserError(
                f"terms.*.rotation turns images by 90 degrees, and they are {height}x{width} px:"
                " set a square --config.data.size, or its weight to 0"
            )
        linear.append(("rotation", 4))
    if asked["codes"] != (codes.size > 0):
        there = f"{codes.size} dimensions" if codes.size else "none"
        raise UserError(
            f"terms.*.codes is {'' if asked['codes'] else 'not '}there, and model.codes has"
            f" {there}: codes and their term go together"
        )
    if codes.size:
        linear.append(("codes", codes.size))
    if asked["views"]:
        linear.append(("view", VIEW))
    name = config.model.disc.name
    shows = "head" in parameters(DISCRIMINATORS.factory("model.disc.name", name))
    if linear and not shows:
        raise UserError(
            f"model.disc.name={name} says real or not and no more, and {linear[0][0]} is asked of"
            " it: set the term's weight to 0, or another model.disc"
        )
    semi_supervised = conditional.name == "semi_supervised"
    if ("labelled" in terms.disc) != semi_supervised:
        there = "is there" if "labelled" in terms.disc else "is not there"
        raise UserError(
            f"terms.disc.labelled {there} with model.conditional={conditional.name}: it belongs to"
            " semi_supervised"
        )
    if semi_supervised and "labelled_image" not in spec.streams:
        raise UserError(
            "model.conditional=semi_supervised learns from some labels: say how many, such as"
            " --config.data.labelled=100"
        )
    return Head(
        "projection" if conditional.name == "none" else conditional.name,
        conditional.get("embedding", 0),
        tuple(linear),
        spec.num_classes if semi_supervised else 0,
    )


def check_terms(config: ConfigDict, discriminator: nn.Module, inputs: tuple) -> None:
    """Raise UserError unless every term fits the networks.

    Args:
      config: the whole config.
      discriminator: the network.
      inputs: its abstract inputs.
    """
    terms, conditional = config.terms, config.model.conditional.name
    variables = jax.eval_shape(
        lambda key, *x: discriminator.init(key, *x, train=False), jax.random.key(0), *inputs
    )
    mixing = {
        "BatchNorm": "batch_stats" in variables,
        "minibatch discrimination": "minibatch" in variables["params"],
    }
    for name in GRADIENT_TERMS:
        for what, there in mixing.items():
            if name in terms.disc and there:
                fix = "norm=layer or none" if what == "BatchNorm" else "minibatch_kernels=0"
                raise UserError(
                    f"terms.disc.{name} with {what} in the discriminator: the penalty is on the"
                    f" gradient of a logit in its own image, and {what} makes a logit depend on the"
                    f" whole batch (arXiv:1704.00028, section 4): set --config.model.disc.{fix}"
                )
    if "latent_consistency" in terms.disc and config.augment.name != "none":
        raise UserError(
            f"terms.disc.latent_consistency with augment.name={config.augment.name}: what an image"
            " and its neighbour are changed by would differ, and not the latents alone: set the"
            " weight to 0, or augment.name=none"
        )
    stages = {stage_of(name) for name in variables["params"]} - {None}
    if not 0 <= config.task.freeze_disc <= len(stages):
        raise UserError(
            f"task.freeze_disc={config.task.freeze_disc}: model.disc.name={config.model.disc.name}"
            f" has {len(stages)} stages at this size; 0 freezes none"
        )
    for player in ("disc", "gen"):
        for name in CLASS_TERMS:
            if (name in terms[player]) != (conditional == name):
                there = "is there" if name in terms[player] else "is not there"
                raise UserError(
                    f"terms.{player}.{name} {there} with model.conditional={conditional}: what a"
                    " head says of classes and its term, of both players, go together"
                )
    if "feature_matching" in terms.gen and config.model.disc.name == "tutorial":
        raise UserError(
            "terms.gen.feature_matching with model.disc.name=tutorial, which does not show its"
            " features: set its weight to 0, or another model.disc"
        )


def _conditional(chosen: str, classes: int, own: str) -> str:
    """Return how a generator is given the class, `own` where that is left to it."""
    check_choice("model.gen.conditional", chosen, ("default", *GEN_CONDITIONALS))
    if not classes and chosen in ("concat", "batch_norm"):
        raise UserError(
            f"model.gen.conditional={chosen} gives the generator classes, and model.conditional"
            " none: set model.conditional=projection, or model.gen.conditional=default"
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


def _of_2014(
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
