"""cGAN with a projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637).

    python main.py --config=configs/cgan_projection.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/cgan_projection.py:imagenet --config.data.dir=TFDS_DIR

As in the authors' code: the networks of `configs/sngan.py` with conditional BatchNorm in the
generator, whose classes are drawn, each as likely, and the class's vector times the features in the
discriminator, hinge, spectral normalisation, Adam 2e-4 with beta1 0 and beta2 0.9, five
discriminator updates a generator update, batches of 64 (at 128 px of four GPUs with 16 each),
latent 128; 50,000 generator updates at 32 px, 250,000 at 64 px, 450,000 at 128 px. It is
`configs/sngan.py` with conditional=projection.

Deviations: those of `configs/sngan.py`.

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 441 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 9.26 against 10,000 MNIST test images,
precision 0.25 and recall 0.75 at k = 3, density 0.12 and coverage 0.04 at k = 5, in the features of
`configs/classifier.py:mnist`. Longer trainings are not yet measured.
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
