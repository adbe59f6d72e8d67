"""WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028): a residual critic with a gradient penalty.

    python main.py --config=configs/wgan_gp.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/wgan_gp.py:mnist,width=32
    python main.py --config=configs/wgan_gp.py:folder,path=DIR,size=64

As in the paper for CIFAR-10: the critic's gradient is held at norm 1 with weight 10, no
normalisation in the critic, Adam 2e-4 with beta1 0 and beta2 0.9, decayed linearly to 0 over
100,000 generator updates, five critic updates each, batches of 64, latent 128, both widths 128 at
32 px.

Deviations: the generator's batch is 64 as well (authors' code: 128), no noise is added to the
pixels, samples come from a moving average of the generator, and the networks from 48 px on are
those of `configs/sngan.py`. With conditional=projection the class enters as there; the paper's
class-conditional network is an auxiliary classifier.

Measured: not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=128,conditional=projection,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, conditional="none", steps=100_000)
    config = gan(
        "resnet",
        0,
        loss="wasserstein",
        disc_terms=dict(gradient_penalty=10.0),
        disc_updates=5,
        disc_norm="none",
        pool="mean",
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    width = values["width"] or (128 if min(config.data.size) < 48 else 64)
    config.model.update(dict(width=width, disc_width=width))
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.0, b2=0.9, schedule="linear")
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config)
        config.task.disc_updates = 2
        config.model.update(dict(width=4, disc_width=4, latent=8))
    config.lock()
    return config
