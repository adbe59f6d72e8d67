"""ProGAN (Karras et al. 2017, arXiv:1710.10196): both networks grow during training.

    python main.py --config=configs/progan.py:celeb_a_hq --config.data.dir=TFDS_DIR
    python main.py --config=configs/progan.py:folder,path=DIR,size=256
    python main.py --config=configs/progan.py:cifar10 --config.data.dir=TFDS_DIR

As in the authors' code with the paper's settings: from 4 px on each size is blended in over 800,000
images and then trained on 800,000, 19 million images in all; WGAN-GP's loss with penalty 10 and a
drift term of 0.001; Adam 1e-3 with beta1 0 and beta2 0.99; as many latents as channels at most
(512); batches of 16; a moving average of the generator of 0.999; equalised learning rate, pixel
norm, minibatch standard deviation. Faces are mirrored (data.flip); bedrooms of LSUN and CIFAR-10
are not. CelebA has 128 px, LSUN 256 px, CelebA-HQ 1,024 px.

Deviations: one batch size for all image sizes (authors: 14, 6 and 3 at 256, 512 and 1,024 px);
those of `gan_jax/methods/gan/growth.py` and `gan_jax/models/progan.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data

FACES = ("celeb_a", "celeb_a_hq")


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=512,stage_images=800000,steps=1187500,...]"."""
    preset, values = parse_arg(
        arg, width=512, conditional="none", stage_images=800_000, steps=1_187_500
    )
    config = gan(
        "progan",
        values["width"],
        loss="wasserstein",
        latent=values["width"],
        conditional=values["conditional"],
        growth=dict(
            name="stages", stage_images=values["stage_images"], fade_images=values["stage_images"]
        ),
        disc_terms={"gradient_penalty": 10.0, "drift": 0.001},
    )
    set_data(config, preset, values, flip=FACES, celeb_a=128, celeb_a_hq=1024, lsun=256)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(1e-3, b1=0.0, b2=0.99)
    config.train.update(dict(steps=values["steps"], batch_size=16, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=8)
        config.task.growth.update(dict(stage_images=8, fade_images=8))
    config.lock()
    return config
