"""BigGAN-deep (Brock et al. 2018, arXiv:1809.11096, appendix B): four times as deep.

    python main.py --config=configs/biggan_deep.py:imagenet --config.data.dir=TFDS_DIR
    python main.py --config=configs/biggan_deep.py:cifar10,width=32 --config.data.dir=TFDS_DIR

As `configs/biggan.py` (its docstring has the hyper-parameters), but for width 128 and 128 latents,
all of which reach every block.

Deviations: 32 px is not in the paper; as `configs/biggan.py` (StudioGAN's BigGAN-deep for CIFAR-10
has two discriminator updates), but for the discriminator, which is as wide as the generator.

Measured (2026-11-25, `:mnist,width=16`, 150 s of one core of an AMD EPYC, 221 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 28.68 against 10,000 MNIST test images,
precision 0.02 and recall 0.05 at k = 3, density 0.01 and coverage 0.01 at k = 5, in the features of
`configs/classifier.py:mnist`. The same for 600 s, 791 steps: 8.96, precision 0.32, recall 0.33,
density 0.13, coverage 0.03 (another classifier of that config); time is what it lacked, and its
digits are hard to read still.
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
