"""The generators and discriminators that a GAN can be made of: `model.net`."""

from __future__ import annotations

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec
from gan_jax.methods.gan.terms import GRADIENT_TERMS
from gan_jax.models import biggan, biggan_deep, dcgan, mlp_gan, progan, resnet_gan, tutorial
from gan_jax.models.blocks import gen_blocks
from gan_jax.models.blocks.disc_norm import DISC_NORMS
from gan_jax.models.blocks.gen_norm import GEN_CONDITIONALS
from gan_jax.models.blocks.heads import CONDITIONALS, Head
from gan_jax.models.plans import check_attention
from gan_jax.objectives.weights import stage_of

EMBEDDED = ("contrastive", "d2d_ce")
# Fields of the section `model` that only some networks have, and the value that asks for nothing.
OF_NETS = {
    "reference_batch": (0, ("dcgan",)),  # virtual batch normalisation
    "attention": (0, ("resnet", "biggan", "biggan_deep")),
    "gen_norm": ("none", ("resnet",)),  # the BigGANs are spectrally normalised anyway
    "gen_block": ("residual", ("resnet",)),
    "wide": (False, ("resnet",)),
    "coarsest": (0, ("lapgan",)),
    "coarse_width": (0, ("lapgan",)),
    "disc_dropout": (0, ("mlp", "conv2014", "lapgan")),
}
VIEW = 128  # dimensions of the embedding of term "views", as SimCLR's


def make_networks(config: ConfigDict, spec: DataSpec) -> tuple[nn.Module, nn.Module, int]:
    """Return (generator, discriminator, number of classes that they are given).

    Args:
      config: the whole config; which heads the discriminator has follows from `terms`.
      spec: of the data, which give the size and the classes.

    Raises:
      UserError: for names that are not known, sizes that do not fit, and networks that cannot be
        what is asked for.
    """
    model = config.model
    nets = {
        "dcgan": _dcgan,
        "tutorial": _tutorial,
        "resnet": _resnet,
        "biggan": _biggan,
        "biggan_deep": _biggan_deep,
        "progan": _progan,
        "mlp": _mlp,
        "conv2014": _mlp,
    }
    check_choice("model.net", model.net, (*nets, "lapgan"))
    classes = class_count(config, spec)
    head = make_head(config, spec)
    return *nets[model.net](model, spec.image_shape, classes, head), classes


def class_count(config: ConfigDict, spec: DataSpec) -> int:
    """Return how many classes the networks are given, 0 for none.

    Raises:
      UserError: for choices of the section `model` that are not known or do not go together.
    """
    model = config.model
    check_choice("model.disc_norm", model.disc_norm, DISC_NORMS)
    check_choice("model.conditional", model.conditional, ("none", *CONDITIONALS))
    check_choice("model.gen_conditional", model.gen_conditional, ("default", *GEN_CONDITIONALS))
    if not 0 <= model.disc_dropout < 1:
        raise UserError(f"model.disc_dropout={model.disc_dropout}: in [0, 1), 0 drops nothing")
    classes = 0
    if model.conditional != "none":
        if model.net == "tutorial":
            raise UserError("model.net=tutorial is unconditional: set model.conditional=none")
        if not spec.num_classes:
            raise UserError(
                f"model.conditional={model.conditional} needs labels, and {spec.unlabelled}: use"
                " a folder with one sub-folder a class, or --config.model.conditional=none"
            )
        # A semi-supervised GAN is not given classes: its discriminator says them.
        classes = 0 if model.conditional == "semi_supervised" else spec.num_classes
    if model.conditional in ("none", "semi_supervised") and model.gen_conditional in (
        "concat",
        "batch_norm",
    ):
        raise UserError(
            f"model.gen_conditional={model.gen_conditional} gives the generator classes, and"
            f" model.conditional={model.conditional}: set model.conditional=projection, or"
            " gen_conditional=default"
        )
    for name, (nothing, having) in OF_NETS.items():
        if model[name] != nothing and model.net not in having:
            raise UserError(
                f"model.{name}={model[name]} with model.net={model.net}, which has none: set"
                f" model.{name}={nothing}, or model.net to one of {', '.join(having)}"
            )
    return classes


def make_head(config: ConfigDict, spec: DataSpec) -> Head:
    """Return the discriminator's last layers: what the terms ask, and `model.conditional`.

    Raises:
      UserError: a term without what it is about.
    """
    model, terms = config.model, config.terms
    asked = {
        name: any(name in side and side[name].weight > 0 for side in (terms.disc, terms.gen))
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
    size = sum(model.categorical_codes) + model.continuous_codes
    if asked["codes"] != (size > 0):
        raise UserError(
            f"terms.*.codes.weight {'above 0' if asked['codes'] else 'is 0'} with"
            f" model.categorical_codes={tuple(model.categorical_codes)} and"
            f" model.continuous_codes={model.continuous_codes}: codes and their term go together"
        )
    if size:
        linear.append(("codes", size))
    if asked["views"]:
        linear.append(("view", VIEW))
    if linear and model.net == "tutorial":
        raise UserError(
            f"model.net=tutorial says real or not and no more, and {linear[0][0]} is asked of it:"
            " set the term's weight to 0, or another model.net"
        )
    semi_supervised = model.conditional == "semi_supervised"
    if (terms.disc.labelled.weight > 0) != semi_supervised:
        raise UserError(
            f"terms.disc.labelled.weight={terms.disc.labelled.weight} with"
            f" model.conditional={model.conditional}: a weight above 0 belongs to semi_supervised"
        )
    if semi_supervised and "labelled_image" not in spec.streams:
        raise UserError(
            "model.conditional=semi_supervised learns from some labels: say how many, such as"
            " --config.data.labelled=100"
        )
    return Head(
        "projection" if model.conditional == "none" else model.conditional,
        model.embedding,
        tuple(linear),
        spec.num_classes if semi_supervised else 0,
        model.minibatch_kernels,
    )


def check_terms(config: ConfigDict, discriminator: nn.Module, inputs: tuple) -> None:
    """Raise UserError unless every term fits the networks.

    Args:
      config: the whole config.
      discriminator: the network.
      inputs: its abstract inputs.
    """
    model, terms = config.model, config.terms
    variables = jax.eval_shape(
        lambda key, *x: discriminator.init(key, *x, train=False), jax.random.key(0), *inputs
    )
    mixing = {
        "BatchNorm": "batch_stats" in variables,
        "minibatch discrimination": "minibatch" in variables["params"],
    }
    for name in GRADIENT_TERMS:
        for what, there in mixing.items():
            if terms.disc[name].weight > 0 and there:
                fix = "disc_norm=layer or none" if what == "BatchNorm" else "minibatch_kernels=0"
                raise UserError(
                    f"terms.disc.{name} with {what} in the discriminator: the penalty is on the"
                    f" gradient of a logit in its own image, and {what} makes a logit depend on the"
                    f" whole batch (arXiv:1704.00028, section 4): set --config.model.{fix}"
                )
    if terms.disc.latent_consistency.weight > 0 and config.augment.name != "none":
        raise UserError(
            f"terms.disc.latent_consistency with augment.name={config.augment.name}: what an image"
            " and its neighbour are changed by would differ, and not the latents alone: set the"
            " weight to 0, or augment.name=none"
        )
    stages = {stage_of(name) for name in variables["params"]} - {None}
    if not 0 <= config.task.freeze_disc <= len(stages):
        raise UserError(
            f"task.freeze_disc={config.task.freeze_disc}: model.net={model.net} has {len(stages)}"
            " stages at this size; 0 freezes none"
        )
    headed = model.conditional in ("classifier", *EMBEDDED)
    for player in ("disc", "gen"):
        if (terms[player].classes.weight > 0) != headed:
            raise UserError(
                f"terms.{player}.classes.weight={terms[player].classes.weight} with"
                f" model.conditional={model.conditional}: a weight above 0 belongs to classifier,"
                " contrastive and d2d_ce, and 0 to the others"
            )
    if terms.gen.feature_matching.weight > 0 and model.net == "tutorial":
        raise UserError(
            "terms.gen.feature_matching with model.net=tutorial, which does not show its features:"
            " set its weight to 0, or another model.net"
        )


def _dcgan(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    dcgan.stages(*shape[:2])
    if model.reference_batch < 0:
        raise UserError(f"model.reference_batch={model.reference_batch}: at least 0, which is none")
    conditional = "concat" if model.gen_conditional == "default" else model.gen_conditional
    if model.reference_batch and conditional != "concat":
        raise UserError(
            f"model.reference_batch={model.reference_batch} with gen_conditional={conditional}:"
            " virtual batch normalisation has one scale for all images: set gen_conditional=concat,"
            " or reference_batch=0"
        )
    generator = dcgan.Generator(shape, model.width, classes, conditional, model.reference_batch)
    return generator, dcgan.Discriminator(model.disc_width, classes, model.disc_norm, head)


def _tutorial(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    if model.disc_norm != "batch":
        raise UserError(
            f"model.disc_norm={model.disc_norm}: the tutorial's discriminator has BatchNorm: set"
            " model.disc_norm=batch, or another model.net"
        )
    if model.gen_conditional != "default" or head.minibatch_kernels:
        raise UserError(
            "model.net=tutorial is what it is: set model.gen_conditional=default and"
            " model.minibatch_kernels=0, or another model.net"
        )
    tutorial.doublings(*shape[:2])
    return tutorial.Generator(shape, model.width), tutorial.Discriminator(model.disc_width)


def _resnet(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    _check_norm(model, resnet_gan.NORMS)
    check_choice("model.pool", model.pool, resnet_gan.POOLS)
    check_choice("model.gen_norm", model.gen_norm, ("none", "spectral"))
    check_choice("model.gen_block", model.gen_block, gen_blocks.BLOCKS)
    check_attention(model.attention, *shape[:2])
    conditional = "batch_norm" if model.gen_conditional == "default" else model.gen_conditional
    generator = resnet_gan.Generator(
        *(shape, model.width, classes, conditional),
        *(model.gen_norm, model.attention, model.gen_block),
    )
    return generator, resnet_gan.Discriminator(
        model.disc_width,
        classes,
        model.disc_norm,
        model.pool,
        head,
        model.attention,
        model.wide,
    )


def _biggan(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    _check_biggan(model, shape)
    codes = sum(model.categorical_codes) + model.continuous_codes
    biggan.check_latent(model.latent, *shape[:2], codes)
    generator = biggan.Generator(
        shape, model.width, classes, model.class_embedding, model.attention, model.weight_init
    )
    return generator, resnet_gan.Discriminator(
        model.disc_width,
        classes,
        model.disc_norm,
        model.pool,
        head,
        model.attention,
        wide=True,
        plan="biggan",
        weight_init=model.weight_init,
    )


def _biggan_deep(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    _check_biggan(model, shape)
    generator = biggan_deep.Generator(
        shape, model.width, classes, model.class_embedding, model.attention, model.weight_init
    )
    return generator, biggan_deep.Discriminator(
        model.disc_width, classes, head, model.attention, model.weight_init
    )


def _progan(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    _check_norm(model, ("none",))
    if model.gen_conditional not in ("default", "concat"):
        raise UserError(
            f"model.gen_conditional={model.gen_conditional}: model.net={model.net} has no"
            " BatchNorm: set model.gen_conditional=default"
        )
    progan.stages(*shape[:2])
    generator = progan.Generator(shape, model.width, classes)
    return generator, progan.Discriminator(shape, model.disc_width, classes, head)


def _check_biggan(model: ConfigDict, shape: tuple) -> None:
    _check_norm(model, ("spectral",))
    check_choice("model.weight_init", model.weight_init, resnet_gan.INITS)
    check_attention(model.attention, *shape[:2], "biggan")
    for name, only in (("gen_conditional", "default"), ("pool", "sum")):
        if model[name] != only:
            raise UserError(
                f"model.{name}={model[name]}: model.net={model.net} has its own: set"
                f" model.{name}={only}, or another model.net"
            )


def _mlp(model: ConfigDict, shape: tuple, classes: int, head: Head) -> tuple:
    _check_norm(model, mlp_gan.NORMS)
    if model.gen_conditional not in ("default", "concat"):
        raise UserError(
            f"model.gen_conditional={model.gen_conditional}: model.net={model.net} has no"
            " BatchNorm: set model.gen_conditional=default"
        )
    convolutional = model.net == "conv2014"
    mlp_gan.check_size(*shape[:2], convolutional)
    generator = mlp_gan.Generator(shape, model.width, classes, convolutional)
    return generator, mlp_gan.Discriminator(
        model.disc_width, classes, model.disc_norm, head, convolutional, model.disc_dropout
    )


def _check_norm(model: ConfigDict, allowed: tuple[str, ...]) -> None:
    if model.disc_norm not in allowed:
        raise UserError(
            f"model.disc_norm={model.disc_norm}: not for model.net={model.net}: set"
            f" model.disc_norm to one of {', '.join(allowed)}"
        )
