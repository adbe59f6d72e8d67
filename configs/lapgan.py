"""LAPGAN (Denton et al. 2015, arXiv:1506.05751): a GAN for each level of a Laplacian pyramid.

    python main.py --config=configs/lapgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/lapgan.py:cifar10,conditional=concat
    python main.py --config=configs/lapgan.py:folder,path=DIR,size=64

As in section 4.1 of the paper and the authors' code for CIFAR-10: the smallest level has 8 px and
dense networks with two hidden layers, of 1,200 units in the generator and 600 in the discriminator,
and 100 latents; further levels have convolutions of 64 channels; discriminators drop half of the
inputs of their last layers. conditional=concat is the class-conditional form of section 4.1.

Deviations: Adam 2e-4 (authors: SGD 0.02 with momentum from 0.5 to 0.7; on MNIST at width 8 its
gradient explodes late in training, and with gradients clipped to 1 it learns slower than Adam);
batches of 64 real and 64 generated images (authors: 128 in an update of the generator); levels of
8, 16 and 32 px (paper: 8, 14 and 28); the number of updates, which the authors do not say; samples
come from a moving average of the generators; those of `gan_jax/models/lapgan.py` and
`gan_jax/methods/gan/lapgan.py`.

Results: configs/README.md.
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
