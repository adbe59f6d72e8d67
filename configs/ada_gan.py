"""A GAN for few images by adaptive augmentation: ADA (Karras et al. 2020, arXiv:2006.06676).

    python main.py --config=configs/ada_gan.py:folder,path=DIR,size=64
    python main.py --config=configs/ada_gan.py:cifar10,conditional=projection

As in the paper: the probability p of each operation follows E[sign(D(x))] with the target 0.6 and
rises by 1 in at least 500,000 images; the non-saturating loss; R1 at every 16th step with the gamma
of the authors' code, 0.0002 pixels / batch. The half-life of the moving average is 20,000 images
(10 / 32 of the batch, in thousands, as in their setting "auto"), and 500,000 for CIFAR-10.

Deviations: a residual GAN without normalisation in the discriminator (paper: StyleGAN2); Adam 2e-4
with beta1 0 and beta2 0.99, not corrected for lazy regularisation; p stays below 1.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "folder") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, latent=128, conditional="none", steps=50_000)
    config = gan(
        "resnet",
        values["width"],
        disc=dict(norm="none"),
        disc_terms=dict(r1=dict(weight=1.0, every=16)),
        augment="ada",
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    height, width = config.data.size
    config.terms.disc.r1.weight = 0.0002 * height * width / 64
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.0, b2=0.99)
    half_life = 500_000.0 if preset == "cifar10" else 20_000.0
    config.train.update(dict(steps=values["steps"], batch_size=64, ema_half_life=half_life))
    if preset == "smoke":
        make_smoke(config, width=4)
        config.terms.disc.r1.update(dict(weight=0.1, every=2))
    config.lock()
    return config
