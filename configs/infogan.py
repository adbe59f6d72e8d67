"""InfoGAN (Chen et al. 2016, arXiv:1606.03657): latent codes that the discriminator can read.

    python main.py --config=configs/infogan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/infogan.py:digits,categories=10,continuous=2

As in the authors' code for MNIST: 62 dimensions of noise, a code of ten values and two continuous
ones, whose Q is a normal of fixed variance, all read with weight 1; Adam with beta1 0.5, 2e-4 for
the discriminator and 1e-3 for the generator, batches of 128.

Deviations: DCGAN networks, the noise is normal (authors: uniform), Q is linear in the
discriminator's last features (authors: a hidden layer of 128 more), and 10,000 updates (authors:
5,000).

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 751 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 3.21 against 10,000 MNIST test images,
precision 0.61 and recall 0.40 at k = 3, density 0.38 and coverage 0.17 at k = 5, in the features of
`configs/classifier.py:mnist`. Longer trainings are not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,categories=10,...]"."""
    preset, values = parse_arg(arg, width=64, latent=62, categories=10, continuous=2, steps=10_000)
    config = gan(
        "dcgan",
        values["width"],
        disc_terms=dict(codes=1.0),
        gen_terms=dict(codes=1.0),
        latent=values["latent"],
        codes=dict(
            categorical=(values["categories"],) if values["categories"] else (),
            continuous=values["continuous"],
        ),
    )
    set_data(config, preset, values)
    config.optim.gen = optimizer(1e-3, b1=0.5)
    config.optim.disc = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=128, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
