"""DCGAN (Radford et al. 2015, arXiv:1511.06434): Adam 2e-4 with beta1 0.5, latent 100, batch 64.

    python main.py --config=configs/dcgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/dcgan.py:folder,path=DIR,size=64

Deviations: the batch is 64 (paper: 128), latents are normal (paper: uniform), and samples come
from a moving average of the generator; see `gan_jax/models/dcgan.py` for the network's.

Measured (2026-11-23, two cores of an AMD EPYC beside other jobs, seed 0):
`:mnist,width=32,steps=3000` in 406 s: most samples are digits that can be read, some are none.
The same, seeds 0, 1, 2 (2026-11-25), 10,000 samples against MNIST's 10,000 test images at 32 px,
seen by `configs/classifier.py:mnist` (see the README's table), mean and standard deviation: FID
2.55 (0.17), KID 0.035 (0.005), precision 0.617 (0.015) and recall 0.748 (0.009) at k = 3, density
0.388 (0.013) and coverage 0.323 (0.019) at k = 5.
By `benchmarks/ladder.py` (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 1,621 to
1,801 steps, seeds 0, 1, 2, one discriminator update a step), mean and standard deviation: FID 3.02
(0.14) against 10,000 MNIST test images, precision 0.58 (0.01) and recall 0.74 (0.01) at k = 3,
density 0.33 (0.00) and coverage 0.23 (0.00) at k = 5, in the features of
`configs/classifier.py:mnist`.
`:folder,path=NOTO,size=64,width=32,steps=1500` in 1,177 s, on 1,292 Noto emoji of 64 px: shapes and
colours of emoji on white, no objects that one could name. Not yet measured: width=64.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,conditional=projection,...]"."""
    preset, values = parse_arg(arg, width=64, latent=100, conditional="none", steps=10_000)
    config = gan(
        "dcgan", values["width"], latent=values["latent"], conditional=values["conditional"]
    )
    set_data(config, preset, values)
    config.optim.gen = optimizer(2e-4, b1=0.5)
    config.optim.disc = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
