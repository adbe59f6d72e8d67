"""The first GANs (Goodfellow et al. 2014, arXiv:1406.2661): an MLP, or its convolutional form.

    python main.py --config=configs/gan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/gan.py:cifar10,net=conv2014

As in the authors' code for MNIST: 1,200 rectified linear units twice against 240 maxout units of
five pieces twice, whose units are dropped with probability 0.5 and pixels with 0.2, SGD of momentum
0.5, batches of 100, latent 100, learning rate 0.1 (0.05 for the discriminator, whose loss is the
mean over real and generated images there, and the sum of two means here). The generator raises
log D, as the paper advises. net=conv2014 has the batches of 128 of their code for CIFAR-10, and
what is said below in place of its SGD (0.004) and dropout.

Dropout is what lets it learn at that rate. Without it (model.disc.dropout=0) 0.1 diverges after 170
steps on MNIST, and with 0.02 recall stays 0.003 at the budget below (FID 15.9, mostly 1, 7 and 9)
and comes to 0.38 in four times as much.

Deviations: learning rate and momentum stay what they are (authors: the one decays, the other rises
to 0.7); the players take turns (authors: both move at once); images are scaled to 32 px, and
samples come from a moving average of the generator; `gan_jax/models/mlp_gan.py` says the networks'.

Measured (2026-11-26, `:mnist`, 150 s of one core of an AMD EPYC, 2,681 to 2,821 steps, seeds 0, 1,
2, one discriminator update a step; `benchmarks/ladder.py`), mean and standard deviation: FID 4.94
(0.40) against 10,000 MNIST test images, precision 0.53 (0.01) and recall 0.15 (0.04) at k = 3,
density 0.33 (0.01) and coverage 0.18 (0.02) at k = 5, in the features of
`configs/classifier.py:mnist`. All ten digits are there, some of them in haze.

net=conv2014 is theirs in its layers only. By SGD (ten pairs of rates from 0.001 to 0.1, three of
them without dropout), and by Adam with dropout, all samples on MNIST (width=480, disc_width=64)
become one shape, or no number, within 1,500 updates, by the MLP's generator too: it is the
discriminator. By Adam of 2e-4 without dropout there are a few shapes, and with spectral
normalisation (arXiv:1802.05957) besides, which is the default here, digits of all kinds.

Measured (2026-11-26, `:mnist,net=conv2014,width=480,disc_width=64`, on one core of a newer AMD
EPYC, seed 0; `benchmarks/ladder.py`): 150 s, 1,601 steps: FID 8.83, precision 0.31, recall 0.006,
density 0.14, coverage 0.03; 450 s, 4,971 steps: FID 2.32, 0.66, 0.63, 0.50, 0.48. In the same
features (another classifier of the same config) `configs/dcgan.py:mnist,width=32` is 2.56 after
150 s (3,431 steps; recall 0.72, coverage 0.34).
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
