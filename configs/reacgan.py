"""ReACGAN (Kang et al. 2021, arXiv:2111.01118): data-to-data cross entropy on the unit sphere.

    python main.py --config=configs/reacgan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/reacgan.py:folder,path=DIR,size=64

As in the authors' code for CIFAR-10: D2D-CE with weight 0.5, temperature 0.5 and margins 0.98 and
0.02 in 512 dimensions, hinge, Adam 2.83e-4 with beta1 0.5 and beta2 0.999, batches of 128.

Deviations: the networks of `configs/sngan.py` with a linear layer more (authors: BigGAN's), and
five discriminator updates a generator update for 100,000 of these, as `configs/contragan.py`.

Measured: not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import resnet_gan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, steps=100_000)
    config = resnet_gan(
        preset,
        values,
        dict(lr=2.83e-4, b1=0.5),
        batch_size=128,
        ema_decay=0.9999,
        disc_updates=5,
        conditional="d2d_ce",
        disc_terms=dict(classes=0.5),
        gen_terms=dict(classes=0.5),
    )
    config.terms.update(dict(temperature=0.5, positive_margin=0.98, negative_margin=0.02))
    return config
