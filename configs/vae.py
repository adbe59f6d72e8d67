"""Variational autoencoder (Kingma & Welling, arXiv:1312.6114; Rezende et al., arXiv:1401.4082).

    python main.py --config=configs/vae.py:mnist --workdir=runs/vae --config.data.dir=DIR
    python main.py --config=configs/vae.py:mnist,net=mlp,likelihood=gaussian --workdir=runs/vae_mlp
    python main.py --config=configs/vae.py:folder,path=../data/noto --workdir=runs/vae_noto
    python main.py --mode=sample --workdir=runs/vae --num=64 --output=out --temperature=0.8
    python main.py --mode=transform --workdir=runs/vae --input=DIR --output=out
    python main.py --mode=eval --workdir=runs/vae --metrics=posterior
    python main.py --mode=eval --workdir=runs/vae --metrics=nll --binarize=bernoulli

`mnist` trains a convolutional VAE with 20 latents and a Bernoulli likelihood on grey levels of 28
px; `folder,path=../data/noto` one with 64 latents on RGB images of 64 px with a Gaussian likelihood
of standard deviation 0.2 in the [-1, 1] scale. An .npz file is used at its own size, and like
`mnist` where its images are grey. `--config.task.beta=4` makes it a beta-VAE. The last command
scores binary images, as the published negative log likelihoods of MNIST do.

Arguments beside the data keys: net=conv|mlp, likelihood=bernoulli|gaussian, latent, width.

Deviations from the paper (section 5): Adam instead of Adagrad, convolutions (or two hidden layers
with ReLU) instead of one hidden layer with tanh, a moving average of the weights.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data
from gan_jax.core.npz import stored_shape

# Presets of grey images: a Bernoulli likelihood and 20 latents. All others: Gaussian and 64.
GREY = ("digits", "mnist", "fashion_mnist", "smoke")


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    preset, values = parse_arg(arg, net="conv", likelihood="", latent=0, width=0)
    stored = stored_shape(values.get("path", "")) if preset == "npz" else None
    channels = values.get("channels") or (stored[2] if stored else 0)
    grey = channels == 1 or bool({preset, values.get("name")} & {*GREY})
    config = base("vae")
    set_data(config, preset, values)
    if "size" not in values:  # as stored: bounds of resized images compare with nothing
        if config.data.name in ("mnist", "fashion_mnist"):
            config.data.size = (28, 28)
        elif stored and (values["net"] == "mlp" or not (stored[0] % 4 or stored[1] % 4)):
            config.data.size = stored[:2]
    config.task.beta = 1.0  # weight of the KL divergence; 1 is the VAE, more is beta-VAE
    net, width = values["net"], dict(width=values["width"]) if values["width"] else {}
    config.model = ConfigDict(
        dict(
            latent=values["latent"] or (20 if grey else 64),  # dimensions
            likelihood=dict(name=values["likelihood"] or ("bernoulli" if grey else "gaussian")),
            encoder=dict(name=net, **width),  # conv (sides divisible by 4) | mlp (any size)
            decoder=dict(name=net, **width),
        )
    )
    config.optim.update(encoder=optimizer(1e-3), decoder=optimizer(1e-3))
    config.train.update(
        steps=6000, batch_size=128, ema_decay=0.999, sample_every=1000, save_every=1000
    )
    config.eval.update(every=1000, best="max:elbo")
    if preset == "smoke":
        make_smoke(config)
        config.model.latent = 4
        config.model.encoder.width = config.model.decoder.width = 4
        config.eval.every = 2
    config.lock()
    return config
