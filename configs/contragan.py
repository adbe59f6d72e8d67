"""ContraGAN (Kang & Park 2020, arXiv:2006.12681): a contrastive loss of images and classes.

    python main.py --config=configs/contragan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/contragan.py:folder,path=DIR,size=64

As in the authors' code for CIFAR-10: 2C with weight 1 and temperature 1 in 512 dimensions, hinge,
Adam 2e-4 with beta1 0.5 and beta2 0.999, five discriminator updates a generator update, 100,000
generator updates, batches of 64.

Deviations: the networks of `configs/sngan.py` with a linear layer more (authors: BigGAN's).

Measured: not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import resnet_gan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, steps=100_000)
    return resnet_gan(
        preset,
        values,
        dict(lr=2e-4, b1=0.5),
        ema_decay=0.9999,
        disc_updates=5,
        conditional="contrastive",
        disc_terms=dict(classes=1.0),
        gen_terms=dict(classes=1.0),
    )
