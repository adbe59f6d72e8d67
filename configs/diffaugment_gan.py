"""A GAN for few images by DiffAugment (Zhao et al. 2020, arXiv:2006.10738).

    python main.py --config=configs/diffaugment_gan.py:folder,path=DIR,size=64
    python main.py --config=configs/diffaugment_gan.py:cifar10,conditional=projection

All images that the discriminator sees, in both updates, are changed in colour, shifted, and cut
out. The GAN is that of `configs/sngan.py` with one discriminator update per generator update;
--config.augment.name=none is the same without augmentation. As in the authors' scripts for
CIFAR-10, real images are mirrored (for a folder only with --config.data.flip=true) and classes of
generated images are drawn uniformly.

Deviations: the paper's GANs are BigGAN and StyleGAN2; the authors' scripts for CIFAR leave out the
colours (--config.augment.parts=translation,cutout).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import resnet_gan


def get_config(arg: str = "folder") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(
        arg, width=0, latent=128, conditional="none", disc_updates=1, steps=50_000
    )
    return resnet_gan(
        preset,
        values,
        dict(lr=2e-4, b1=0.0, b2=0.9, schedule="linear"),
        flip=True,
        fake_labels="uniform",
        disc_updates=values["disc_updates"],
        conditional=values["conditional"],
        augment="diffaugment",
    )
