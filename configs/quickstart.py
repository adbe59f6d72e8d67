"""The quickstart: a small class-conditional DCGAN on scikit-learn's bundled handwritten digits.

    python main.py

1,438 training images of 8x8 px, enlarged to 16 px. As `configs/dcgan.py` but small, conditional on
the class, and with a higher learning rate. As training data for a classifier:

    python main.py --config=configs/classifier.py:digits,size=16,steps=600 --workdir=runs/digits
    python main.py --mode=eval --workdir=runs/quickstart --metrics=cas --features=cnn:runs/digits

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "digits") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=32,...]"."""
    preset, values = parse_arg(arg, width=32, latent=32, steps=4000)
    config = gan("dcgan", values["width"], latent=values["latent"], conditional="projection")
    set_data(config, preset, values)
    config.optim.gen = optimizer(5e-4, b1=0.5)
    config.optim.disc = optimizer(5e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.998))
    config.eval.grid = 10
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
