"""Importance-weighted autoencoder (Burda et al. 2015, arXiv:1509.00519), one stochastic layer.

    python main.py --config=configs/iwae.py:mnist --workdir=runs/iwae --config.data.dir=DIR
    python main.py --config=configs/iwae.py:mnist,samples=1 --workdir=runs/vae_of_the_paper
    python main.py --mode=eval --workdir=runs/iwae --metrics=nll --split=test --samples=5000
        --binarize=bernoulli

50 latents, two layers of 200 units with tanh in both networks, 50 draws an update, MNIST of 28 px
binarised anew at each step ("dynamic"). `samples=1` is the paper's VAE. `--config.task.bound=miwae`
(or ciwae, piwae) has the bounds of Rainforth et al. 2018 (arXiv:1802.04537).

Arguments beside the data keys: samples, latent, width.

Deviations from the paper (section 5): the learning rate stays at 1e-3, where theirs falls to 1e-4
over 3,280 epochs; 5,000 of the 60,000 training images are held out; output biases start at 0, and
not at the mean image's.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    preset, values = parse_arg(arg, samples=50, latent=50, width=200)
    config = base("iwae")
    set_data(config, preset, values, mnist=28, fashion_mnist=28)
    config.task.update(samples=values["samples"], binarize="bernoulli")
    net = dict(name="tanh_mlp", width=values["width"])
    config.model = ConfigDict(
        dict(
            latent=values["latent"],  # dimensions
            likelihood=dict(name="bernoulli"),
            encoder=dict(net),
            decoder=dict(net),
        )
    )
    adam = dict(lr=1e-3, b1=0.9, b2=0.999, eps=1e-4)
    config.optim.update(encoder=optimizer(**adam), decoder=optimizer(**adam))
    config.train.update(
        steps=100_000, batch_size=20, log_every=500, sample_every=5000, save_every=2500
    )
    config.eval.update(every=2500, best="max:iwae")
    if preset == "smoke":
        make_smoke(config)
        config.task.samples = 4
        config.model.latent = 4
        config.model.encoder.width = config.model.decoder.width = 8
        config.eval.every = 2
    config.lock()
    return config
