"""ContraGAN (Kang & Park 2020, arXiv:2006.12681): a contrastive loss of images and classes.

    python main.py --config=configs/contragan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/contragan.py:folder,path=DIR,size=64

As in the authors' code for CIFAR-10: 2C with weight 1 and temperature 1 in 512 dimensions, hinge,
Adam 2e-4 with beta1 0.5 and beta2 0.999, five discriminator updates a generator update, 100,000
generator updates, batches of 64.

Deviations: the networks of `configs/sngan.py` with a linear layer more (authors: BigGAN's).

Measured: not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, steps=100_000)
    config = gan(
        "resnet",
        0,
        loss="hinge",
        disc_updates=5,
        disc_norm="spectral",
        disc_terms=dict(classes=1.0),
        gen_terms=dict(classes=1.0),
        latent=values["latent"],
        conditional="contrastive",
    )
    set_data(config, preset, values)
    small = min(config.data.size) < 48
    config.model.width = values["width"] or (256 if small else 64)
    config.model.disc_width = max(config.model.width // 2, 1) if small else config.model.width
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.9999))
    if preset == "smoke":
        make_smoke(config)
        config.task.disc_updates = 2
        config.model.update(dict(width=4, disc_width=4, latent=8))
    config.lock()
    return config
