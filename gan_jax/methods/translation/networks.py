"""Networks of translators by name: `config.model.gen` and `config.model.disc`."""

from __future__ import annotations

from flax import linen as nn

from gan_jax.core.choices import Choice
from gan_jax.models import resnet_translator
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet


def unet(*, outputs: int, width: int = 64, dropout: float = 0.5) -> nn.Module:
    """Return a U-Net.

    Args:
      outputs: channels of the target.
      width: channels of its first layer.
      dropout: of its first decoder blocks.
    """
    return UNet(features=width, outputs=outputs, dropout_rate=dropout)


def resnet(*, outputs: int, width: int = 64, blocks: int = 9, dropout: float = 0.0) -> nn.Module:
    """Return CycleGAN's residual generator.

    Args:
      outputs: channels of the target.
      width: channels of its first layer.
      blocks: residual ones.
      dropout: within these.
    """
    return resnet_translator.ResNetTranslator(
        features=width, outputs=outputs, blocks=blocks, dropout_rate=dropout
    )


def patchgan(*, width: int = 64, layers: int = 2, norm: str = "batch") -> nn.Module:
    """Return a PatchGAN.

    Args:
      width: channels of its first layer.
      layers: 2: patches of 34 px; 3: the paper's 70 px.
      norm: batch | instance.
    """
    return PatchGAN(features=width, layers=layers, norm=norm)


def nobody() -> None:
    """Return no discriminator."""


GENERATORS = Choice({"unet": unet, "resnet": resnet}, ("outputs",), "unet", nn.Module)
DISCRIMINATORS = Choice({"none": nobody, "patchgan": patchgan}, (), "none", nn.Module)
# What the sides of an image must divide by, of generators that take other sizes than in training.
MULTIPLES = {"resnet": resnet_translator.MULTIPLE}
