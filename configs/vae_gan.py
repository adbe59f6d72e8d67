"""VAE-GAN (Larsen et al. 2015, arXiv:1512.09300): an autoencoder judged by a discriminator.

    python main.py --config=configs/vae_gan.py:mnist --workdir=runs/vae_gan --config.data.dir=DIR
    python main.py --config=configs/vae_gan.py:folder,path=DIR --workdir=runs/vae_gan_mine
    python main.py --mode=sample --workdir=runs/vae_gan --num=64 --output=out
    python main.py --mode=transform --workdir=runs/vae_gan --input=DIR --output=out

The encoder minimises the KL divergence and the distance of image and reconstruction in the
discriminator's features, the decoder `task.gamma` times that distance and the game, the
discriminator the game. Any generator of a GAN may be the decoder (`--config.model.decoder=resnet`).

Arguments beside the data keys: width (channels next to the image, of all three), latent.

Deviations from the paper (section 4.1 and table 1): DCGAN's networks with 4x4 kernels, whose number
of stages follows the image size, for theirs of 5x5; Adam 2e-4 with beta1 0.5 for RMSProp 3e-4;
MNIST at 32 px and images of one's own for CelebA.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    preset, values = parse_arg(arg, width=32, latent=0)
    config = base("vae_gan")
    set_data(config, preset, values)
    grey = preset in ("digits", "mnist", "fashion_mnist")
    config.task.update(gamma=1e-3, loss="minimax")
    width = values["width"]
    config.model = ConfigDict(
        dict(
            latent=values["latent"] or (32 if grey else 128),  # dimensions
            encoder=dict(name="conv", width=width, norm="batch"),
            decoder=dict(name="dcgan", width=width),
            disc=dict(name="dcgan", width=width),
        )
    )
    for name in ("encoder", "decoder", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(steps=20_000, batch_size=64, ema_decay=0.999, sample_every=1000)
    if preset == "smoke":
        make_smoke(config)
        config.model.latent = 4
        for name in ("encoder", "decoder", "disc"):
            config.model[name].width = 4
    config.lock()
    return config
