"""cGAN with a projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637).

    python main.py --config=configs/cgan_projection.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/cgan_projection.py:folder,path=DIR,size=128

As in the authors' code: the networks of `configs/sngan.py` with conditional BatchNorm in the
generator and the class's vector times the features in the discriminator, hinge, spectral
normalisation, Adam 2e-4 with beta1 0 and beta2 0.9, five discriminator updates a generator update,
batches of 64 (at 128 px of four GPUs with 16 each), latent 128; 50,000 generator updates at 32 px,
250,000 at 64 px, 450,000 at 128 px. It is `configs/sngan.py` with conditional=projection.

Deviations: those of `configs/sngan.py`.

Measured: not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=256,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, steps=0)
    config = gan(
        "resnet",
        0,
        loss="hinge",
        disc_updates=5,
        disc_norm="spectral",
        latent=values["latent"],
        conditional="projection",
    )
    set_data(config, preset, values)
    short = min(config.data.size)
    small = short < 48
    config.model.width = values["width"] or (256 if small else 64)
    config.model.disc_width = max(config.model.width // 2, 1) if small else config.model.width
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.0, b2=0.9, schedule="linear")
    steps = values["steps"] or (50_000 if small else 250_000 if short < 128 else 450_000)
    config.train.update(dict(steps=steps, batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config)
        config.task.disc_updates = 2
        config.model.update(dict(width=4, disc_width=4, latent=8))
    config.lock()
    return config
