"""SSGAN (Chen et al. 2018, arXiv:1811.11212): the discriminator also predicts rotations.

    python main.py --config=configs/ssgan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/ssgan.py:folder,path=DIR,size=64

As in the authors' code: the cross entropy of four rotations, with weight 1 for the discriminator on
real images and 0.2 for the generator on generated ones. The rest as in `configs/sngan.py`: hinge
loss, spectral normalisation in the discriminator, Adam 2e-4 with beta1 0 and beta2 0.9, batches of
64, latent 128; 100,000 generator updates.

Deviations: no self-modulation in the generator by default (gen_conditional=self_modulation), and
one discriminator update per generator update (disc_updates).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import resnet_gan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,gen_conditional=self_modulation,...]"."""
    preset, values = parse_arg(
        arg, width=0, latent=128, gen_conditional="default", disc_updates=1, steps=100_000
    )
    return resnet_gan(
        preset,
        values,
        dict(lr=2e-4, b1=0.0, b2=0.9),
        disc_updates=values["disc_updates"],
        gen=dict(conditional=values["gen_conditional"]),
        disc_terms=dict(rotation=1.0),
        gen_terms=dict(rotation=0.2),
    )
