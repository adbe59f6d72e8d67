"""Networks that restore images, by name: `config.model.net`."""

from __future__ import annotations

from flax import linen as nn

from gan_jax.core.choices import Choice
from gan_jax.models.restoration.dncnn import DnCNN
from gan_jax.models.restoration.edsr import EDSR
from gan_jax.models.restoration.rrdb import RRDBNet
from gan_jax.models.restoration.srcnn import SRCNN
from gan_jax.models.restoration.srresnet import SRResNet
from gan_jax.models.unet import UNet


def srcnn(*, outputs: int, scale: int, width: int = 64) -> nn.Module:
    """Return SRCNN.

    Args:
      outputs: channels of the clean image.
      scale: side of the clean image relative to the input's.
      width: channels of the first layer; the second has half as many.
    """
    return SRCNN(outputs=outputs, scale=scale, features=width)


def edsr(
    *,
    outputs: int,
    scale: int,
    width: int = 64,
    blocks: int = 16,
    residual_scale: float = 1.0,
    skip: str = "none",
) -> nn.Module:
    """Return EDSR.

    Args:
      outputs, scale: as for `srcnn`.
      width: channels.
      blocks: number of residual blocks.
      residual_scale: factor of each block's residual; 0.1 in the paper's large network.
      skip: none | bilinear | bicubic: adds the enlarged input to the output.
    """
    return EDSR(
        outputs=outputs,
        scale=scale,
        features=width,
        blocks=blocks,
        residual_scale=residual_scale,
        skip=skip,
    )


def srresnet(
    *, outputs: int, scale: int, width: int = 64, blocks: int = 16, skip: str = "bilinear"
) -> nn.Module:
    """Return SRResNet without norms.

    Args:
      outputs, scale, width, blocks, skip: as for `edsr`.
    """
    return SRResNet(outputs=outputs, scale=scale, features=width, blocks=blocks, skip=skip)


def rrdb(
    *,
    outputs: int,
    scale: int,
    width: int = 64,
    growth: int = 32,
    blocks: int = 23,
    skip: str = "none",
) -> nn.Module:
    """Return ESRGAN's generator.

    Args:
      outputs, scale, skip: as for `edsr`.
      width: channels.
      growth: channels that each convolution of a dense block adds.
      blocks: number of residual-in-residual dense blocks.
    """
    return RRDBNet(
        outputs=outputs, scale=scale, features=width, growth=growth, blocks=blocks, skip=skip
    )


def dncnn(*, outputs: int, width: int = 64, layers: int = 17, norm: str = "batch") -> nn.Module:
    """Return DnCNN, which estimates the noise and subtracts it.

    Args:
      outputs: channels of the clean image, and of the input.
      width: channels.
      layers: convolutions; 17 for one noise level, 20 for several.
      norm: batch | none.
    """
    return DnCNN(outputs=outputs, features=width, layers=layers, norm=norm)


def unet(*, outputs: int, bounded: bool, width: int = 64, depth: int = 4) -> nn.Module:
    """Return pix2pix's U-Net without dropout.

    Args:
      outputs: channels of its output.
      bounded: whether the output is in [-1, 1], as images are.
      width: channels of the first layer.
      depth: number of halvings; the sides of its images divide by 2**depth.
    """
    return UNet(features=width, outputs=outputs, depth=depth, dropout_rate=0.0, bounded=bounded)


NETWORKS = Choice(
    {
        "srcnn": srcnn,
        "edsr": edsr,
        "srresnet": srresnet,
        "rrdb": rrdb,
        "dncnn": dncnn,
        "unet": unet,
    },
    ("outputs", "scale", "bounded"),
    "edsr",
    nn.Module,
)
