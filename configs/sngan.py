"""SNGAN (Miyato et al. 2018, arXiv:1802.05957): a residual GAN, spectral normalisation, the hinge.

    python main.py --config=configs/sngan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/sngan.py:cifar10,conditional=projection
    python main.py --config=configs/sngan.py:cifar10,gen_block=dense
    python main.py --config=configs/sngan.py:folder,path=DIR,size=64

As in the authors' code: Adam 2e-4 with beta1 0 and beta2 0.9, decayed linearly to 0; five
discriminator updates per generator update; batches of 64; latent 128; widths 256 and 128 at 32 px,
64 and 64 from 48 px on; classes of generated images drawn uniformly; photographs with uniform noise
within a grey level (data.dequantize); 50,000 generator updates at 32 px, 250,000 at 64 px and
450,000 at 128 px. conditional=projection is arXiv:1802.05637; gen_block=dense gives the generator
the blocks of a DenseNet (arXiv:1608.06993), see `gan_jax/models/blocks/gen_blocks.py`.

Deviations: the generator's batch is 64 too (authors: 128, and 64 at 64 px); the learning rate
decays from the start at every size (authors, from 64 px on: in the last 50,000 updates); samples
come from a moving average of the generator; BatchNorm's epsilon is 1e-5 (authors: 2e-5); those of
the networks are in `gan_jax/models/resnet_gan.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import resnet_gan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,conditional=projection,...]".

    A width scales the discriminator too: half of it below 48 px, the same from there on.
    """
    preset, values = parse_arg(
        arg, width=0, latent=128, conditional="none", gen_block="residual", steps=0
    )
    optim = dict(lr=2e-4, b1=0.0, b2=0.9, schedule="linear")
    fields = dict(conditional=values["conditional"], gen=dict(block=values["gen_block"]))
    fields |= dict(disc_updates=5, fake_labels="uniform", dequantize=True)
    return resnet_gan(preset, values, optim, **fields)
