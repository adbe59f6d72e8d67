"""DRAGAN (Kodali et al. 2017, arXiv:1705.07215): a gradient penalty near real images.

    python main.py --config=configs/dragan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/dragan.py:folder,path=DIR,size=64

As in the authors' program for MNIST: gradients of norm 1 near real images with weight 10, one
discriminator update a generator update, the loss of the first GANs with its non-saturating
generator, beta1 0.5.

Deviations: the rest is that of `configs/dcgan.py`: its networks, Adam 2e-4 with beta2 0.999,
batches of 64 (authors: an MLP of 128 units, 1e-4 with beta2 0.9, batches of 128). The discriminator
has LayerNorm: the penalty forbids BatchNorm, and without any normalisation (norm=none) the
generator makes one pattern after another.

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 1,051 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 5.87 against 10,000 MNIST test images,
precision 0.40 and recall 0.30 at k = 3, density 0.21 and coverage 0.04 at k = 5, in the features of
`configs/classifier.py:mnist`. Without LayerNorm: FID 27.12 after 1,231 steps, recall 0; and
as `configs/dcgan.py` with --config.model.disc.norm=none, which has no penalty, 16.22 after 1,281
steps, recall 0. So the penalty is not what fails. Longer trainings are not yet measured.
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
