"""LAPGAN (Denton et al. 2015, arXiv:1506.05751): a GAN for each level of a Laplacian pyramid.

    python main.py --config=configs/lapgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/lapgan.py:cifar10,conditional=concat
    python main.py --config=configs/lapgan.py:folder,path=DIR,size=64

As in section 4.1 of the paper and the authors' code for CIFAR-10: the smallest level has 8 px and
dense networks of two hidden layers, 1,200 units in the generator and 600 in the discriminator, with
100 latents; further levels have convolutions of 64 channels; discriminators drop half of what their
last layers are given. With conditional=concat as in section 4.1 given the class.

Deviations: Adam of 2e-4 (authors: SGD of 0.02, momentum 0.5 that rises to 0.7; with it, on MNIST at
width 8, the generator of 32 px died after 2,800 steps, when its gradient rose from 1 to 19, and
images only blurred from there on; with gradients clipped to 1 it lives and learns slower than by
Adam); batches of 64 real and 64 generated images (authors: 64 and 64 in an update of the
discriminator, 128 in one of the generator); levels of half the size each, 8, 16 and 32 px (paper:
8, 14 and 28); the authors say no number of updates; samples come from a moving average of the
generators; `gan_jax/models/lapgan.py` and `gan_jax/methods/gan/lapgan.py` say the others.

Measured (2026-11-26, `:mnist,width=8` with model.disc.width=24, 150 s of one core of an AMD EPYC,
531 steps, seed 0, one discriminator update a step; `benchmarks/ladder.py`): FID 29.09 against
10,000 MNIST test images, precision 0.07 and recall 0.16 at k = 3, density 0.03 and coverage 0.01 at
k = 5, in the features of `configs/classifier.py:mnist`. After 780 s, 2,591 steps, FID is 16.77,
precision 0.30, recall 0.05, density 0.14 and coverage 0.05, with digits that can be read: what it
lacks is time. With model.disc.width=8 as well the discriminators are too weak (by SGD, 150 s: FID
57.0, with 24 28.3).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,conditional=concat,...]"."""
    preset, values = parse_arg(
        arg, width=64, coarse_width=1200, latent=100, conditional="none", steps=100_000
    )
    config = gan(
        "lapgan",
        values["width"],
        gen=dict(coarsest=8, coarse_width=values["coarse_width"]),
        disc=dict(norm="none", dropout=0.5),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
        config.model.gen.coarse_width = 16
    config.lock()
    return config
