"""Relativistic average GAN (Jolicoeur-Martineau 2018, arXiv:1807.00734).

    python main.py --config=configs/relativistic_gan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/relativistic_gan.py:mnist,loss=relativistic_hinge

As in the authors' code for CIFAR-10: BatchNorm in the generator and spectral normalisation in the
discriminator, Adam 2e-4 with beta1 0.5 and beta2 0.999, one discriminator update a generator
update, batches of 32, 100,000 generator updates. loss=relativistic_least_squares is RaLSGAN,
loss=relativistic_hinge RaHingeGAN.

Deviations: DCGAN networks, and samples come from a moving average of the generator.

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 3,071 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 2.98 against 10,000 MNIST test images,
precision 0.52 and recall 0.73 at k = 3, density 0.28 and coverage 0.17 at k = 5, in the features of
`configs/classifier.py:mnist`. Longer trainings are not yet measured.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,loss=relativistic_hinge,...]"."""
    preset, values = parse_arg(
        arg, width=64, latent=128, loss="relativistic", conditional="none", steps=100_000
    )
    config = gan(
        "dcgan",
        values["width"],
        loss=values["loss"],
        disc=dict(norm="spectral"),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=32, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
