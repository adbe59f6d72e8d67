"""WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028): a residual critic with a gradient penalty.

    python main.py --config=configs/wgan_gp.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/wgan_gp.py:mnist,width=32
    python main.py --config=configs/wgan_gp.py:lsun --config.data.dir=TFDS_DIR

As in the authors' code for CIFAR-10: a penalty of weight 10 that holds the critic's gradient at
norm 1; no normalisation in the critic; Adam 2e-4 with beta1 0 and beta2 0.9, decayed linearly to 0
over 100,000 generator updates; five critic updates per generator update; batches of 64; latent 128;
both widths 128 at 32 px; CIFAR-10 with uniform noise within a grey level (data.dequantize). From 48
px on as in theirs for ImageNet at 64 px: Adam 1e-4, constant, and 200,000 generator updates.

Deviations: the generator's batch is 64 too (authors, at 32 px: 128); samples come from a moving
average of the generator; the networks from 48 px on are those of `configs/sngan.py` (authors:
others at 64 px, and 101 layers for LSUN at 128 px). conditional=projection gives both networks the
class as in `configs/sngan.py`, with task.fake_labels=real (authors: an auxiliary classifier with
weight 1 for the critic and 0.1 for the generator, whose classes are drawn).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import PHOTOGRAPHS, gan, make_smoke, optimizer, parse_arg, set_data, set_widths


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=128,conditional=projection,...]"."""
    preset, values = parse_arg(arg, width=0, latent=128, conditional="none", steps=0)
    config = gan(
        "resnet",
        0,
        loss="wasserstein",
        disc_terms=dict(gradient_penalty=10.0),
        disc_updates=5,
        disc=dict(norm="none", pool="mean"),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values, lsun=128)
    small = min(config.data.size) < 48
    config.data.dequantize = small and preset in PHOTOGRAPHS  # not in their code for 64 px
    width = values["width"] or (128 if small else 64)
    set_widths(config, width, width)
    rate = dict(lr=2e-4, schedule="linear") if small else dict(lr=1e-4)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(b1=0.0, b2=0.9, **rate)
    steps = values["steps"] or (100_000 if small else 200_000)
    config.train.update(dict(steps=steps, batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
        config.task.disc_updates = 2
    config.lock()
    return config
