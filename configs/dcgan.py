"""DCGAN (Radford et al. 2015, arXiv:1511.06434): Adam 2e-4 with beta1 0.5, latent 100, batch 64.

    python main.py --config=configs/dcgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/dcgan.py:folder,path=DIR,size=64

Deviations: the batch is 64 (paper: 128), latents are normal (paper: uniform), and samples come
from a moving average of the generator; those of the networks are in `gan_jax/models/dcgan.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,conditional=projection,...]"."""
    preset, values = parse_arg(arg, width=64, latent=100, conditional="none", steps=10_000)
    config = gan(
        "dcgan", values["width"], latent=values["latent"], conditional=values["conditional"]
    )
    set_data(config, preset, values)
    config.optim.gen = optimizer(2e-4, b1=0.5)
    config.optim.disc = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
