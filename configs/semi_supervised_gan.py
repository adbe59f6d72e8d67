"""Semi-supervised learning with a GAN (Salimans et al. 2016, arXiv:1606.03498, section 5).

    python main.py --config=configs/semi_supervised_gan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/classifier.py:mnist --config.data.dir=TFDS_DIR \\
        --config.data.labelled=100 --config.data.unlabelled=false
    python main.py --mode=eval --checkpoint=latest --workdir=RUN

The discriminator predicts one of K classes or "generated". It learns classes from `labelled` images
(as many of each class: 10 of each of MNIST's), and real from generated on all. The generator only
matches features. Batches of 100 as in the authors' code for MNIST. The second command trains a
classifier on the same labelled images alone, for comparison; the third measures either on test. No
checkpoint is chosen, since that would take more labels than the training has: the last one counts.

Deviations: DCGAN networks with LayerNorm in the discriminator (authors: an MLP with weight
normalisation and noise before every layer); augmentation as in `configs/classifier.py`, of all
images that the discriminator sees, in place of noise; Adam 5e-4, and 2e-3 for the generator
(authors: 3e-3); predictions by the moving average of the discriminator; real against generated has
the weight of the classes (authors' code: half); the labelled images are the same for every seed.

Results: configs/README.md.
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
