"""BigGAN (Brock et al. 2018, arXiv:1809.11096): wide, conditional, latents into every block.

    python main.py --config=configs/biggan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/biggan.py:imagenet --config.data.dir=TFDS_DIR
    python main.py --mode=sample --workdir=RUN --output=DIR --standing=16 --truncation=0.5

From 64 px on as in the paper (section 3 and appendix C): width 96, 20 latents for the first layer
and each block (120 at 128 px, 140 at 256 px), class embeddings of 128, attention over features of
64 px (half the image's at 64 px), batches of 2,048, Adam 5e-5 for the generator and 2e-4 for the
discriminator with beta1 0 and beta2 0.999, two discriminator updates each, orthogonal
regularisation 1e-4 of the generator, a moving average of 0.9999. As in the author's PyTorch code
and in StudioGAN, Adam's epsilon is 1e-6, classes of generated images are drawn, each as likely, and
the moving average starts at step 20,000.

At 32 px as StudioGAN's BigGAN for CIFAR-10, which is not in the paper: batches of 64, 80 latents,
Adam 2e-4 with beta1 0.5, five discriminator updates, 100,000 updates of the generator, attention
over features of 16 px (theirs: the first block of the discriminator, 16 px, too), no orthogonal
regularisation, a discriminator of half the width (192 channels for the generator's 384), images
mirrored, a moving average from step 1,000 on.

Deviations: BatchNorm's epsilon is 1e-5 at 32 px too (StudioGAN: 1e-4); 200,000 updates of the
generator from 64 px on are StudioGAN's for ImageNet (the paper stops when a training collapses).

Measured (2026-11-25, `:mnist,width=8` with model.disc.width=8 and task.fake_labels=real, 150 s of
one core of an AMD EPYC, 301 to 331 steps, seeds 0, 1, 2, one discriminator update a step;
`benchmarks/ladder.py`), mean and standard deviation: FID 8.99 (4.51) against 10,000 MNIST test
images, precision 0.36 (0.14) and recall 0.49 (0.13) at k = 3, density 0.16 (0.07) and coverage 0.05
(0.02) at k = 5, in the features of `configs/classifier.py:mnist`. Longer trainings are not yet
measured.
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
