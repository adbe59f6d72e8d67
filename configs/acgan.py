"""AC-GAN (Odena et al. 2016, arXiv:1610.09585): the discriminator says the class.

    python main.py --config=configs/acgan.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/acgan.py:folder,path=DIR,size=64

The class, drawn with each as likely, enters the generator beside the latents; both players lose the
cross entropy of the class, the discriminator on real and on generated images; Adam 2e-4 with beta1
0.5, batches of 100, latent 100.

Deviations: DCGAN networks at every size, without dropout and noise in the discriminator.

Measured (2026-11-25, `:mnist,width=32`, 150 s of one core of an AMD EPYC, 951 steps, seed 0, one
discriminator update a step; `benchmarks/ladder.py`): FID 1.72 against 10,000 MNIST test images,
precision 0.59 and recall 0.47 at k = 3, density 0.38 and coverage 0.31 at k = 5, in the features of
`configs/classifier.py:mnist`. Longer trainings are not yet measured.
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
