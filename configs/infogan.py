"""InfoGAN (Chen et al. 2016, arXiv:1606.03657): latent codes that the discriminator can read.

    python main.py --config=configs/infogan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/infogan.py:digits,categories=10,continuous=2

As in the authors' code for MNIST: 62 dimensions of noise, one categorical code of ten values and
two continuous codes, whose Q is a normal of fixed variance, all with weight 1; Adam with beta1 0.5,
2e-4 for the discriminator and 1e-3 for the generator, batches of 128.

Deviations: DCGAN networks, normal noise (authors: uniform), Q linear in the discriminator's last
features (authors: one more hidden layer of 128), 10,000 updates (authors: 5,000).

Results: configs/README.md.
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
