"""Variational autoencoder (Kingma & Welling, arXiv:1312.6114; Rezende et al., arXiv:1401.4082).

    python main.py --config=configs/vae.py:mnist --workdir=runs/vae --config.data.dir=DIR
    python main.py --config=configs/vae.py:mnist,net=mlp,likelihood=gaussian --workdir=runs/vae_mlp
    python main.py --config=configs/vae.py:folder,path=../data/noto --workdir=runs/vae_noto
    python main.py --mode=sample --workdir=runs/vae --num=64 --output=out --temperature=0.8
    python main.py --mode=transform --workdir=runs/vae --input=DIR --output=out

`mnist` trains a convolutional VAE with 20 latents on 28 px grey levels with a Bernoulli likelihood;
`folder,path=../data/noto` one with 64 latents on RGB images of 64 px with a Gaussian likelihood of
standard deviation 0.2 in the [-1, 1] scale. An .npz file is trained on at its own size, and as
`mnist` where its images are grey. `--config.task.beta=4` makes it a beta-VAE.

Arguments beside the data keys: net=conv|mlp, likelihood=bernoulli|gaussian, latent, width.

Deviations from the paper (section 5): Adam instead of Adagrad, convolutions (or two hidden layers
with ReLU) instead of one hidden layer with tanh, a moving average of the weights.

Measured (2026-11-23, two cores of an AMD EPYC beside other jobs, seed 0): `:mnist` with
--config.train.steps=2500, 268 s: ELBO -102.4 nats an image on the 10,000 test images (KL 24.4).
`:mnist,net=mlp` with --config.train.steps=2000, 102 s: ELBO -105.6 (KL 23.5). Both of grey levels,
not binarised: to be compared with such bounds only. Samples of the former (seeds 0, 1, 2,
2026-11-25, best checkpoint, step 2000): 10,000 against the 10,000 test images at 28 px, seen by
`configs/classifier.py:mnist` (see the README's table), mean and standard deviation: FID 2.609
(0.042), KID 0.056 (0.004), precision 0.585 (0.009) and recall 0.705 (0.035) at k = 3, density
0.372 (0.017) and coverage 0.379 (0.020) at k = 5. `:folder,path=NOTO,width=16`,
3,000 steps in 1,642 s, 1,292 Noto emoji of 64 px to train on: reconstructions of the 344 held out
have their colours and outlines, samples are coloured blots. More steps do not help, the images
are too few: held out, the ELBO (a density on the [-1, 1] scale) is -5,856 nats after 1,000 steps,
-5,898 after 2,000 and -6,168 after 3,000, while it rises to 2,700 on those trained on.

    python main.py --mode=eval --workdir=runs/vae --metrics=posterior
    python main.py --mode=eval --workdir=runs/vae --metrics=nll --binarize=bernoulli

The first (2026-11-25, the same machine): of the 20 latents of `:mnist`, trained for 2,500 steps,
all are active, two of them hardly (variances of the means 0.02 and 0.07, all others above 0.46);
the moments of the aggregated posterior are 0.57 nats from the prior's. The second scores binary
images, those that the negative log likelihoods of the field are of: 95.72 nats over the 10,000 test
images with --samples=100 (0.176 bits a dimension).
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
