"""ReACGAN (Kang et al. 2021, arXiv:2111.01118): data-to-data cross entropy on the unit sphere.

    python main.py --config=configs/reacgan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/reacgan.py:imagenet --config.data.dir=TFDS_DIR

As in the authors' code for CIFAR-10: D2D-CE with weight 0.5, temperature 0.5 and margins 0.98 and
0.02 in 512 dimensions, in the form of their code, which differs from the paper's equation 9 (field
shift_negatives; `gan_jax/objectives/contrastive.py`); hinge loss; Adam 2.83e-4 with beta1 0.5,
beta2 0.999 and epsilon 1e-6; batches of 128; mirrored images; classes of generated images drawn
uniformly; a moving average from step 1,000 on. From 128 px on as in theirs for ImageNet: weight 1,
2,048 dimensions, Adam 5e-5 for the generator and 2e-4 for the discriminator with beta1 0, two
discriminator updates per generator update, 500,000 generator updates, batches of 256, the average
from step 20,000 on.

Deviations: the networks of `configs/sngan.py` with one more linear layer (authors: BigGAN's); below
128 px five discriminator updates per generator update, and 100,000 generator updates, as in
`configs/contragan.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import contrastive_for_imagenet, resnet_gan

D2D_CE = dict(
    weight=0.5,
    temperature=0.5,
    positive_margin=0.98,
    negative_margin=0.02,
    shift_negatives=True,
)


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, given = parse_arg(arg, width=0, latent=128, steps=0)
    values = {**given, "steps": given["steps"] or 100_000}
    config = resnet_gan(
        preset,
        values,
        dict(lr=2.83e-4, b1=0.5, eps=1e-6),
        batch_size=128,
        ema_decay=0.9999,
        ema_start=1000,
        flip=True,
        fake_labels="uniform",
        disc_updates=5,
        conditional="d2d_ce",
        disc_terms=dict(d2d_ce=dict(D2D_CE)),
        gen_terms=dict(d2d_ce=dict(D2D_CE)),
    )
    if min(config.data.size) >= 128:
        contrastive_for_imagenet(config, given, embedding=2048, steps=500_000)
        for player in ("disc", "gen"):
            config.terms[player].d2d_ce.weight = 1.0
    return config
