"""LSGAN (Mao et al. 2016, arXiv:1611.04076): least squares in place of the cross entropy.

    python main.py --config=configs/lsgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/lsgan.py:folder,path=DIR,size=64

Targets 0 and 1 and the generator's 1; Adam with beta1 0.5, batches of 64. For LSUN (`:lsun`) as in
the authors' code: 112 px, latents of 1,024 and Adam 1e-3.

Deviations: the networks are those of `configs/dcgan.py` (authors, for LSUN: a deeper generator, and
uniform latents), and so are latent 100 and 2e-4 but for LSUN.

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 1,651 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 5.20 against 10,000 MNIST test images,
precision 0.47 and recall 0.68 at k = 3, density 0.23 and coverage 0.11 at k = 5, in the features of
`configs/classifier.py:mnist`. Longer trainings are not yet measured.
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
