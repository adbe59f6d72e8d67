"""The generators and discriminators that a GAN can be made of: `model.net`."""

from __future__ import annotations

from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.errors import UserError, check_choice
from gan_jax.models import dcgan, resnet_gan, tutorial
from gan_jax.models.disc_norm import DISC_NORMS
from gan_jax.spec import DataSpec


def make_networks(model: ConfigDict, spec: DataSpec) -> tuple[nn.Module, nn.Module, int]:
    """Return (generator, discriminator, number of classes that they are given).

    Args:
      model: the section of the config.
      spec: of the data, which give the size and the classes.

    Raises:
      UserError: for names that are not known, sizes that do not fit, and networks that cannot be
        what is asked for.
    """
    nets = {"dcgan": _dcgan, "tutorial": _tutorial, "resnet": _resnet}
    check_choice("model.net", model.net, nets)
    check_choice("model.disc_norm", model.disc_norm, DISC_NORMS)
    check_choice("model.conditional", model.conditional, ("none", "projection"))
    classes = 0
    if model.conditional != "none":
        if model.net == "tutorial":
            raise UserError("model.net=tutorial is unconditional: set model.conditional=none")
        if not spec.num_classes:
            raise UserError(
                f"model.conditional={model.conditional} needs labels, and {spec.name} has none: use"
                " a folder with one sub-folder a class, or --config.model.conditional=none"
            )
        classes = spec.num_classes
    return *nets[model.net](model, spec.image_shape, classes), classes


def _dcgan(model: ConfigDict, shape: tuple, classes: int) -> tuple[nn.Module, nn.Module]:
    dcgan.stages(*shape[:2])
    generator = dcgan.Generator(shape, model.width, classes)
    return generator, dcgan.Discriminator(model.disc_width, classes, model.disc_norm)


def _tutorial(model: ConfigDict, shape: tuple, classes: int) -> tuple[nn.Module, nn.Module]:
    if model.disc_norm != "batch":
        raise UserError(
            f"model.disc_norm={model.disc_norm}: the tutorial's discriminator has BatchNorm: set"
            " model.disc_norm=batch, or another model.net"
        )
    tutorial.doublings(*shape[:2])
    return tutorial.Generator(shape, model.width), tutorial.Discriminator(model.disc_width)


def _resnet(model: ConfigDict, shape: tuple, classes: int) -> tuple[nn.Module, nn.Module]:
    if model.disc_norm not in resnet_gan.NORMS:
        raise UserError(
            f"model.disc_norm={model.disc_norm}: not for model.net=resnet: set"
            f" model.disc_norm to one of {', '.join(resnet_gan.NORMS)}"
        )
    check_choice("model.pool", model.pool, resnet_gan.POOLS)
    resnet_gan.plan(*shape[:2])
    discriminator = resnet_gan.Discriminator(model.disc_width, classes, model.disc_norm, model.pool)
    return resnet_gan.Generator(shape, model.width, classes), discriminator
