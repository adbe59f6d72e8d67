"""AC-GAN (Odena et al. 2016, arXiv:1610.09585): the discriminator also classifies images.

    python main.py --config=configs/acgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/acgan.py:folder,path=DIR,size=64

Classes are drawn uniformly and enter the generator beside the latents. Both networks minimise the
cross entropy of the class, the discriminator on real and generated images. Adam 2e-4 with beta1
0.5, batches of 100, latent 100.

Deviations: DCGAN networks at every size, without dropout and noise in the discriminator.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, latent=100, steps=10_000)
    config = gan(
        "dcgan",
        values["width"],
        disc_terms=dict(classifier=1.0),
        gen_terms=dict(classifier=1.0),
        latent=values["latent"],
        conditional="classifier",
        fake_labels="uniform",
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=100, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
    config.lock()
    return config
