"""The first GANs (Goodfellow et al. 2014, arXiv:1406.2661): an MLP, or a convolutional form.

    python main.py --config=configs/gan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/gan.py:cifar10,net=conv2014

As in the authors' code for MNIST: a generator with two hidden layers of 1,200 rectified linear
units; a discriminator with two hidden layers of 240 maxout units of five pieces; dropout of 0.5 on
its units and 0.2 on its pixels; SGD with momentum 0.5, batches of 100, latent 100, learning rate
0.1 (0.05 for the discriminator, whose loss is the mean over real and generated images there, and
the sum of two means here). The generator maximises log D, as the paper advises. Dropout is needed
at that rate: without it (model.disc.dropout=0) training diverges.

net=conv2014 has the layers and the batches of 128 of the authors' code for CIFAR-10. Its default
training is ours: Adam 2e-4, spectral normalisation (arXiv:1802.05957), no dropout. With the
authors' SGD and dropout, and by Adam with dropout, all samples on MNIST became one shape, or NaN,
within 1,500 updates, with the MLP's generator too.

Deviations: learning rate and momentum are constant (authors: the rate decays, the momentum rises to
0.7); the networks are updated in turn (authors: at once); images are resized to 32 px; samples come
from a moving average of the generator; those of the networks are in `gan_jax/models/mlp_gan.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,net=conv2014,...]"."""
    preset, values = parse_arg(
        arg, width=1200, disc_width=240, latent=100, net="mlp", conditional="none", steps=100_000
    )
    convolutional = values["net"] == "conv2014"
    config = gan(
        values["net"],
        values["width"],
        disc_width=values["disc_width"],
        disc=dict(
            norm="spectral" if convolutional else "none", dropout=0.0 if convolutional else 0.5
        ),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    rates = (2e-4, 2e-4) if convolutional else (0.1, 0.05)
    rule = dict(b1=0.5) if convolutional else dict(name="sgd", momentum=0.5)
    for name, lr in zip(("gen", "disc"), rates, strict=True):
        config.optim[name] = optimizer(lr, **rule)
    batch_size = 128 if convolutional else 100
    config.train.update(dict(steps=values["steps"], batch_size=batch_size, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=16, disc_width=4)
    config.lock()
    return config
