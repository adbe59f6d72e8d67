"""DRAGAN (Kodali et al. 2017, arXiv:1705.07215): a gradient penalty near real images.

    python main.py --config=configs/dragan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/dragan.py:folder,path=DIR,size=64

As in the authors' program for MNIST: gradients of norm 1 near real images with weight 10, one
discriminator update per generator update, the non-saturating loss, beta1 0.5.

Deviations: the rest is that of `configs/dcgan.py`: its networks, Adam 2e-4 with beta2 0.999,
batches of 64 (authors: an MLP of 128 units, 1e-4 with beta2 0.9, batches of 128). The discriminator
has LayerNorm: the penalty forbids BatchNorm, and without any normalisation (disc_norm=none) the
generator collapses to one pattern.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,disc_norm=layer,...]"."""
    preset, values = parse_arg(
        arg, width=64, latent=100, disc_norm="layer", conditional="none", steps=10_000
    )
    config = gan(
        "dcgan",
        values["width"],
        disc_terms=dict(dragan=10.0),
        disc=dict(norm=values["disc_norm"]),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
