"""WGAN (Arjovsky et al. 2017, arXiv:1701.07875): a Wasserstein critic whose weights are clipped.

    python main.py --config=configs/wgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/wgan.py:folder,path=DIR,size=64

As in the paper's algorithm 1: weights in [-0.01, 0.01], RMSProp with learning rate 5e-5, five
critic updates per generator update, batches of 64; DCGAN networks with BatchNorm in the critic, as
in the authors' code.

Deviations: five critic updates at every generator update (authors' code: 100 at the first 25 and at
every 500th), and samples come from a moving average of the generator.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, latent=100, conditional="none", steps=40_000)
    config = gan(
        "dcgan",
        values["width"],
        loss="wasserstein",
        disc_updates=5,
        weight_clipping=0.01,
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(5e-5, name="rmsprop", decay=0.99)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
        config.task.disc_updates = 2
    config.lock()
    return config
