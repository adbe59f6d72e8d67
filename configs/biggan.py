"""BigGAN (Brock et al. 2018, arXiv:1809.11096): wide, conditional, latents into every block.

    python main.py --config=configs/biggan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/biggan.py:imagenet --config.data.dir=TFDS_DIR
    python main.py --mode=sample --workdir=RUN --output=DIR --standing=16 --truncation=0.5

From 64 px on as in the paper (section 3 and appendix C): width 96; 20 latents for the first layer
and for each block (120 at 128 px, 140 at 256 px); class embeddings of 128; attention over features
of 64 px (at 64 px: half the image's side); batches of 2,048; Adam 5e-5 for the generator and 2e-4
for the discriminator with beta1 0 and beta2 0.999; two discriminator updates per generator update;
orthogonal regularisation 1e-4 of the generator; a moving average of 0.9999. As in the author's
PyTorch code and in StudioGAN, Adam's epsilon is 1e-6, classes of generated images are drawn
uniformly, and the moving average starts at step 20,000.

At 32 px, which is not in the paper, as StudioGAN's BigGAN for CIFAR-10: batches of 64, 80 latents,
Adam 2e-4 with beta1 0.5, five discriminator updates, 100,000 generator updates, attention over
features of 16 px (theirs too: after the discriminator's first block), no orthogonal
regularisation, a discriminator of half the width (192 channels, the generator 384), mirrored
images, a moving average from step 1,000 on.

Deviations: BatchNorm's epsilon is 1e-5 at 32 px too (StudioGAN: 1e-4); the 200,000 generator
updates from 64 px on are StudioGAN's for ImageNet (paper: until training collapses).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import parse_arg
from configs.gan_common import biggan


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=96,conditional=none,batch_size=256,...]"."""
    preset, values = parse_arg(
        arg, width=96, latent=0, conditional="projection", attention=0, batch_size=0, steps=0
    )
    return biggan("biggan", preset, values)
