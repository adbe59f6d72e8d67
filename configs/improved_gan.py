"""Improved techniques for training GANs (Salimans et al. 2016, arXiv:1606.03498), for samples.

    python main.py --config=configs/improved_gan.py:cifar10 --config.data.dir=TFDS_DIR
    python main.py --config=configs/improved_gan.py:mnist,width=32

Minibatch discrimination with 100 kernels, one-sided label smoothing of 0.1, historical averaging of
both networks, virtual batch normalisation in the generator with a reference batch of 100; as in the
authors' code for CIFAR-10 Adam 3e-4 with beta1 0.5, batches of 100, latent 100. Feature matching,
which the paper found to help classifiers and not samples, replaces the generator's loss with
--config.task.gen_weight=0 --config.terms.gen.feature_matching=1.

Deviations: DCGAN networks; no dropout, noise or weight normalisation in the discriminator, and no
classes in it (the authors' discriminator for CIFAR-10 also classifies); a constant learning rate;
normal latents (authors: uniform); the weight of historical averaging, 1e-4, is ours.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import gan, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "cifar10") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, latent=100, conditional="none", steps=50_000)
    config = gan(
        "dcgan",
        values["width"],
        label_smoothing=0.1,
        disc_terms=dict(historical=1e-4),
        gen_terms=dict(historical=1e-4),
        gen=dict(reference_batch=100),
        disc=dict(minibatch_kernels=100),
        latent=values["latent"],
        conditional=values["conditional"],
    )
    set_data(config, preset, values)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(3e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=100, ema_decay=0.999))
    if preset == "smoke":
        make_smoke(config, width=4)
        config.model.gen.reference_batch, config.model.disc.minibatch_kernels = 6, 5
    config.lock()
    return config
