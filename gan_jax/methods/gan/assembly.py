"""Build the networks of a GAN's config and check that they fit together.

Generator, discriminator and terms are chosen independently; combinations that make no sense are
refused here.
"""

from __future__ import annotations

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, build, parameters
from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.methods.gan.class_terms import CLASS_TERMS
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.networks import DISCRIMINATORS, GENERATORS
from gan_jax.methods.gan.terms import GRADIENT_TERMS
from gan_jax.models.blocks.heads import Head
from gan_jax.objectives.weights import stage_of

VIEW = 128  # dimensions of the embedding of term "views", as in SimCLR
PAIRED = ("lapgan", "progan")  # a generator of these works with its own discriminator only


def _no_fields() -> int:
    """Return 0: this condition has no fields."""
    return 0


def embedded(*, embedding: int = 512) -> int:
    """Return the dimensions of the embeddings of images and classes."""
    if embedding < 1:
        raise UserError(f"model.conditional.embedding={embedding}: at least 1")
    return embedding


# Whether a GAN is class-conditional, and how its discriminator uses the class; see `blocks.heads`.
CONDITIONS = Choice(
    {
        "none": _no_fields,
        "concat": _no_fields,
        "classifier": _no_fields,
        "projection": _no_fields,
        "contrastive": embedded,
        "d2d_ce": embedded,
        "semi_supervised": _no_fields,
    },
    default="none",
)


def make_networks(
    config: ConfigDict, spec: DataSpec, codes: Codes
) -> tuple[nn.Module, nn.Module, int]:
    """Return (generator, discriminator, number of classes they are conditioned on).

    Args:
      config: the whole config; `terms` determines the discriminator's heads.
      spec: of the data; gives the image size and the number of classes.
      codes: InfoGAN's codes, appended to the latents.

    Raises:
      UserError: for image sizes that do not fit, or networks that can't do what the config asks.
    """
    model = config.model
    for name in PAIRED:
        if (model.gen.name == name) != (model.disc.name == name):
            raise UserError(
                f"model.gen.name={model.gen.name} with model.disc.name={model.disc.name}: {name}'s"
                " generator and discriminator work with each other only: name both, or neither"
            )
    classes = class_count(config, spec)
    given = dict(image_shape=spec.image_shape, classes=classes)
    generator = build("model.gen", model.gen, GENERATORS, latent=model.latent, codes=codes, **given)
    head = make_head(config, spec, codes)
    discriminator = build("model.disc", model.disc, DISCRIMINATORS, head=head, **given)
    return generator, discriminator, classes


def class_count(config: ConfigDict, spec: DataSpec) -> int:
    """Return the number of classes that the networks are conditioned on, 0 for none.

    Raises:
      UserError: for conditioning without labels, or networks that are always unconditional.
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
            " with one sub-folder per class, or --config.model.conditional=none"
        )
    # A semi-supervised GAN is not conditioned on classes: its discriminator predicts them.
    return 0 if conditional == "semi_supervised" else spec.num_classes


def make_head(config: ConfigDict, spec: DataSpec, codes: Codes) -> Head:
    """Return the discriminator's head, as `model.conditional` and the terms require it.

    Raises:
      UserError: a term without the codes, labels or head that it needs.
    """
    terms, conditional = config.terms, config.model.conditional
    embedding = build("model.conditional", conditional, CONDITIONS)
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
            f"model.disc.name={name} returns the real/fake logit only, and term {linear[0][0]}"
            " needs another head: set the term's weight to 0, or another model.disc"
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
        embedding,
        tuple(linear),
        spec.num_classes if semi_supervised else 0,
    )


def check_terms(config: ConfigDict, discriminator: nn.Module, inputs: tuple) -> None:
    """Raise UserError unless every term fits the networks.

    Args:
      config: the whole config.
      discriminator: the network.
      inputs: abstract inputs of the discriminator.
    """
    terms, conditional = config.terms, config.model.conditional.name
    init = discriminator.init_with_output
    outs, variables = jax.eval_shape(
        lambda key, *x: init(key, *x, train=False, method="outputs"), jax.random.key(0), *inputs
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
                    f"terms.disc.{name} with {what} in the discriminator: the penalty takes the"
                    f" gradient of each logit in its own image, and {what} makes a logit depend on"
                    f" the whole batch (arXiv:1704.00028, section 4): set --config.model.disc.{fix}"
                )
    if "latent_consistency" in terms.disc and config.augment.name != "none":
        raise UserError(
            f"terms.disc.latent_consistency with augment.name={config.augment.name}: an image and"
            " its neighbour in latent space would be augmented differently: set the weight to 0,"
            " or augment.name=none"
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
                    f"terms.{player}.{name} {there} with model.conditional={conditional}: this"
                    " condition and its term in both terms.disc and terms.gen go together"
                )
    if "feature_matching" in terms.gen and isinstance(outs.features, tuple):
        raise UserError(
            f"terms.gen.feature_matching with model.disc.name={config.model.disc.name}, which does"
            " not show its features: set its weight to 0, or another model.disc"
        )
