"""ReACGAN (Kang et al. 2021, arXiv:2111.01118): data-to-data cross entropy on the unit sphere.

    python main.py --config=configs/reacgan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/reacgan.py:imagenet --config.data.dir=TFDS_DIR

As in the authors' code for CIFAR-10: D2D-CE with weight 0.5, temperature 0.5 and margins 0.98 and
0.02 in 512 dimensions, in the form of their code and not of the paper's equation 9
(terms.shift_negatives; `gan_jax/objectives/contrastive.py`), hinge, Adam 2.83e-4 with beta1 0.5,
beta2 0.999 and epsilon 1e-6, batches of 128, images mirrored, classes of generated ones drawn, a
moving average from step 1,000 on. At 128 px and more as in theirs for ImageNet: weight 1, 2,048
dimensions, Adam 5e-5 for the generator and 2e-4 for the discriminator with beta1 0, two
discriminator updates a generator update, 500,000 generator updates, batches of 256, the average
from step 20,000 on.

Deviations: the networks of `configs/sngan.py` with a linear layer more (authors: BigGAN's), and
below 128 px five discriminator updates a generator update for 100,000 of these, as
`configs/contragan.py`.

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 231 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 10.83 against 10,000 MNIST test images,
precision 0.30 and recall 0.48 at k = 3, density 0.12 and coverage 0.03 at k = 5, in the features of
`configs/classifier.py:mnist`. Longer trainings are not yet measured.
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
