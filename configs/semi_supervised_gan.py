"""Semi-supervised learning with a GAN (Salimans et al. 2016, arXiv:1606.03498, section 5).

    python main.py --config=configs/semi_supervised_gan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/classifier.py:mnist --config.data.dir=TFDS_DIR \\
        --config.data.labelled=100 --config.data.unlabelled=false
    python main.py --mode=eval --checkpoint=latest --workdir=RUN

The discriminator says one of K classes or "generated"; it learns the class of as many images of
each class as `labelled` says (10 of each of MNIST's), and real from generated on all. The generator
matches features alone. Batches of 100 as in the authors' code for MNIST. The second command trains
a classifier on the very same labelled images and no others; the third says the accuracy of either
on held-out images. No checkpoint is chosen: that would take more labels than there are to learn
from, so the last one is what counts.

Deviations: DCGAN networks with LayerNorm in the discriminator (authors: an MLP with weight
normalisation and noise before every layer); noise on the images alone, which are distorted as
`configs/classifier.py` distorts them, all that the discriminator sees alike; Adam 5e-4 and 2e-3 of
the generator (authors: 3e-3); classes are said by the moving average of the discriminator; real
against generated counts as much as the class does (authors' code: half); the labelled images are
the same for every seed.

Measured (2026-11-25, two cores of an AMD EPYC beside other jobs), seed 0, error on MNIST's 10,000
test images from 100 labels, last step: `:mnist,width=16,size=28,steps=5000` 3.12 %, in 381 s of
processor time; the classifier, `:mnist,steps=600` with the options above, 5.67 %, in 70 s, having
all 100 labels right from the first 100 steps on. The paper's MLP has 0.93 % +- 0.065 % after a far
longer training.
Its samples, by `benchmarks/ladder.py` (`:mnist,width=32`, 150 s of one core of an AMD EPYC, 731
steps, seed 0): FID 3.96 against 10,000 MNIST test images, precision 0.41 and recall 0.74 at k = 3,
density 0.19 and coverage 0.10 at k = 5, in the features of `configs/classifier.py:mnist`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,labelled=100,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, latent=100, labelled=100, steps=20_000)
    config = gan(
        "dcgan",
        values["width"],
        gen_weight=0.0,
        disc=dict(norm="layer"),
        disc_terms=dict(labelled=1.0),
        gen_terms=dict(feature_matching=1.0),
        latent=values["latent"],
        conditional="semi_supervised",
        augment="distortion",
    )
    set_data(config, preset, values)
    config.data.labelled = values["labelled"]
    config.optim.gen, config.optim.disc = optimizer(2e-3, b1=0.5), optimizer(5e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=100, ema_decay=0.999))
    config.eval.every = 1000  # chooses nothing: thousands of labels would, beside the few
    if preset == "smoke":
        make_smoke(config, width=4)
        config.data.labelled = 20
        config.eval.every = 2
    config.lock()
    return config
