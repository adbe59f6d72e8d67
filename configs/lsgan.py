"""LSGAN (Mao et al. 2016, arXiv:1611.04076): least squares in place of the cross entropy.

    python main.py --config=configs/lsgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/lsgan.py:folder,path=DIR,size=64

Targets 0 and 1, and 1 for the generator; Adam with beta1 0.5, batches of 64. For LSUN (`:lsun`) as
in the authors' code: 112 px, 1,024 latents and Adam 1e-3.

Deviations: the networks are those of `configs/dcgan.py` (authors, for LSUN: a deeper generator, and
uniform latents), with 100 latents and Adam 2e-4 except for LSUN.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, latent=0, conditional="none", steps=10_000)
    config = gan(
        "dcgan",
        values["width"],
        loss="least_squares",
        latent=values["latent"] or (1024 if preset == "lsun" else 100),
        conditional=values["conditional"],
    )
    set_data(config, preset, values, lsun=112)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(1e-3 if preset == "lsun" else 2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
