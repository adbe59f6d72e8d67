"""Networks of translators by name: `config.model.gen` and `config.model.disc`."""

from __future__ import annotations

from flax import linen as nn

from gan_jax.core.choices import Choice
from gan_jax.models import resnet_translator
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet, unet_depth


def unet(
    *, outputs: int, image_size: tuple[int, int], width: int = 64, dropout: float = 0.5
) -> nn.Module:
    """Return a U-Net.

    Args:
      outputs: channels of the target.
      image_size: (height, width) of the training images [px], which determines its depth.
      width: channels of the first layer.
      dropout: dropout rate in the first decoder blocks.
    """
    depth = unet_depth(*image_size)
    return UNet(features=width, outputs=outputs, depth=depth, dropout_rate=dropout)


def resnet(*, outputs: int, width: int = 64, blocks: int = 9, dropout: float = 0.0) -> nn.Module:
    """Return CycleGAN's residual generator.

    Args:
      outputs: channels of the target.
      width: channels of the first layer.
      blocks: number of residual blocks.
      dropout: dropout rate within the blocks.
    """
    return resnet_translator.ResNetTranslator(
        features=width, outputs=outputs, blocks=blocks, dropout_rate=dropout
    )


def patchgan(*, width: int = 64, layers: int = 2, norm: str = "batch") -> nn.Module:
    """Return a PatchGAN.

    Args:
      width: channels of the first layer.
      layers: stride-2 convolutions; 2 for patches of 34 px, 3 for the paper's 70 px.
      norm: batch | instance.
    """
    return PatchGAN(features=width, layers=layers, norm=norm)


def no_discriminator() -> None:
    """Return no discriminator."""


GENERATORS = Choice({"unet": unet, "resnet": resnet}, ("outputs", "image_size"), "unet", nn.Module)
DISCRIMINATORS = Choice({"none": no_discriminator, "patchgan": patchgan}, (), "none", nn.Module)


def multiple(name: str, size: tuple[int, int]) -> int | None:
    """Return the divisor of the sides of images of any size; None: only the training size.

    Args:
      name: of a generator.
      size: (height, width) of the training images [px].
    """
    if name == "unet":
        return 2 ** unet_depth(*size)
    return resnet_translator.MULTIPLE if name == "resnet" else None
