"""ContraGAN (Kang & Park 2020, arXiv:2006.12681): a contrastive loss of images and classes.

    python main.py --config=configs/contragan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/contragan.py:imagenet --config.data.dir=TFDS_DIR

As in the authors' code for CIFAR-10: the 2C loss with weight 1 and temperature 1 in 512 dimensions,
hinge loss, Adam 2e-4 with beta1 0.5, beta2 0.999 and epsilon 1e-6, five discriminator updates per
generator update, 100,000 generator updates, batches of 64, mirrored images, classes of generated
images drawn uniformly, a moving average from step 1,000 on. From 128 px on as in theirs for
ImageNet: 1,536 dimensions, Adam 5e-5 for the generator and 2e-4 for the discriminator with beta1 0,
two discriminator updates per generator update, 200,000 generator updates, batches of 256, the
average from step 20,000 on.

Deviations: the networks of `configs/sngan.py` with one more linear layer (authors: BigGAN's).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import contrastive_for_imagenet, resnet_gan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, given = parse_arg(arg, width=0, latent=128, steps=0)
    values = {**given, "steps": given["steps"] or 100_000}
    config = resnet_gan(
        preset,
        values,
        dict(lr=2e-4, b1=0.5, eps=1e-6),
        ema_decay=0.9999,
        ema_start=1000,
        flip=True,
        fake_labels="uniform",
        disc_updates=5,
        conditional="contrastive",
        disc_terms=dict(contrastive=1.0),
        gen_terms=dict(contrastive=1.0),
    )
    if min(config.data.size) >= 128:
        contrastive_for_imagenet(config, given, embedding=1536, steps=200_000)
    return config
