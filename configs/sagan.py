"""SAGAN (Zhang et al. 2018, arXiv:1805.08318): self-attention, spectral normalisation in both.

    python main.py --config=configs/sagan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/sagan.py:imagenet --config.data.dir=TFDS_DIR

As in section 4 of the paper: hinge loss; Adam with beta1 0 and beta2 0.9 (the authors' code leaves
beta2 at 0.999); learning rates of 1e-4 for the generator and 4e-4 for the discriminator (TTUR); one
discriminator update per generator update; attention over features of 32 px at 128 px; conditional
BatchNorm and projection, with classes of generated images drawn uniformly. At 128 px batches of 256
(authors: 64 on each of four GPUs). Below 128 px batches of 64, and attention over features of half
the image's side.

Deviations: samples come from a moving average of the generator; sizes other than 128 px are not in
the paper; those of the networks are in `gan_jax/models/resnet_gan.py` and `attention.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data, set_widths


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,conditional=none,attention=16,...]".

    A width scales the discriminator too: half of it below 48 px, the same from there on.
    """
    preset, values = parse_arg(
        arg, width=0, latent=128, conditional="projection", attention=0, steps=0
    )
    config = gan(
        "resnet",
        0,
        loss="hinge",
        gen=dict(norm="spectral", attention=0),
        disc=dict(norm="spectral", wide=True, attention=0),
        latent=values["latent"],
        conditional=values["conditional"],
        fake_labels="uniform",
    )
    set_data(config, preset, values)
    short = min(config.data.size)
    small, paper = short < 48, short >= 128
    width = values["width"] or (256 if small else 64)
    set_widths(config, width, max(width // 2, 1) if small else width)
    attention = values["attention"] or (short // 4 if paper else short // 2)
    config.model.gen.attention = config.model.disc.attention = attention
    config.optim.gen = optimizer(1e-4, b1=0.0, b2=0.9)
    config.optim.disc = optimizer(4e-4, b1=0.0, b2=0.9)
    steps = values["steps"] or (1_000_000 if paper else 100_000)
    config.train.update(dict(steps=steps, batch_size=256 if paper else 64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
        config.model.gen.attention = config.model.disc.attention = 8
        config.model.conditional.name = "none"
    config.lock()
    return config
