"""The GAN of the deep-learning tutorial that this project comes from, with its defects repaired.

    python main.py --config=configs/tutorial_gan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/tutorial_gan.py:folder,path=DIR,size=64

As there: generator dense 4x4x512, LeakyReLU, transposed 4x4 stride-2 convolutions 256, 128, 64
with BatchNorm and LeakyReLU, 3x3 convolution to the image; discriminator 3x3 stride-2
convolutions 64, 128, 256 with BatchNorm and LeakyReLU, dense 1; Adam 1e-4, beta1 0.5; latent 100;
binary cross-entropy.

Repaired:
  * three doublings of 4 px make 32 px where 64 px were meant: the number of stages follows from the
    image size, and 64 px have a fourth stage of 32 channels;
  * the generator had no output activation and images had no range: it ends in tanh, and data are
    in [-1, 1];
  * a sigmoid before the binary cross-entropy loses its gradient: the loss takes logits;
  * a file name was loaded as if it were the data set: real data sets are read;
  * a batch of one image leaves BatchNorm nothing to average: a batch is 64 images.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, steps=10_000)
    config = gan("tutorial", values["width"])
    set_data(config, preset, values)
    config.optim.gen = optimizer(1e-4, b1=0.5)
    config.optim.disc = optimizer(1e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
