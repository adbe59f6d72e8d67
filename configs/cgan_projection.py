"""cGAN with a projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637).

    python main.py --config=configs/cgan_projection.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/cgan_projection.py:imagenet --config.data.dir=TFDS_DIR

The same as `configs/sngan.py` with conditional=projection. As in the authors' code: conditional
BatchNorm in the generator, classes of generated images drawn uniformly, the inner product of class
embedding and features in the discriminator, hinge loss, spectral normalisation, Adam 2e-4 with
beta1 0 and beta2 0.9, five discriminator updates per generator update, batches of 64 (authors, at
128 px: 16 on each of four GPUs), latent 128; 50,000 generator updates at 32 px, 250,000 at 64 px,
450,000 at 128 px.

Deviations: those of `configs/sngan.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import resnet_gan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, steps=0)
    optim = dict(lr=2e-4, b1=0.0, b2=0.9, schedule="linear")
    fields = dict(disc_updates=5, fake_labels="uniform", dequantize=True)
    return resnet_gan(preset, values, optim, conditional="projection", **fields)
