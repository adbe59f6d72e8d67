"""BigGAN-deep (Brock et al. 2018, arXiv:1809.11096, appendix B): four times as deep.

    python main.py --config=configs/biggan_deep.py:imagenet --config.data.dir=TFDS_DIR
    python main.py --config=configs/biggan_deep.py:cifar10,width=32 --config.data.dir=TFDS_DIR

Hyper-parameters are those of `configs/biggan.py`, except for width 128 and 128 latents, all of
which reach every block.

Deviations: 32 px is not in the paper; there it is as `configs/biggan.py` (StudioGAN's BigGAN-deep
for CIFAR-10 has two discriminator updates), with a discriminator as wide as the generator.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import biggan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=128,conditional=none,batch_size=256,...]"."""
    preset, values = parse_arg(
        arg, width=128, latent=128, conditional="projection", attention=0, batch_size=0, steps=0
    )
    return biggan("biggan_deep", preset, values)
