"""Relativistic average GAN (Jolicoeur-Martineau 2018, arXiv:1807.00734).

    python main.py --config=configs/relativistic_gan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/relativistic_gan.py:mnist,loss=relativistic_hinge

As in the authors' code for CIFAR-10: BatchNorm in the generator and spectral normalisation in the
discriminator, Adam 2e-4 with beta1 0.5 and beta2 0.999, one discriminator update per generator
update, batches of 32, 100,000 generator updates. loss=relativistic_least_squares is RaLSGAN,
loss=relativistic_hinge RaHingeGAN.

Deviations: DCGAN networks, and samples come from a moving average of the generator.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,loss=relativistic_hinge,...]"."""
    preset, values = parse_arg(
        arg, width=64, latent=128, loss="relativistic", conditional="none", steps=100_000
    )
    config = gan(
        "dcgan",
        values["width"],
        loss=values["loss"],
        disc=dict(norm="spectral"),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=32, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
