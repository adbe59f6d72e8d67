"""The variational autoencoder (Kingma & Welling, arXiv:1312.6114; Rezende et al., arXiv:1401.4082).

One update maximises, averaged over the batch, the lower bound of log p(x) in nats an image

    elbo = reconstruction - kl
    reconstruction = E[log p(x|z)], z from q(z|x)
    kl = KL(q(z|x) || N(0, I))

with one draw of z an image (L = 1 in eq. 7 of arXiv:1312.6114) and the closed form of kl. The loss
is beta * kl - reconstruction: with beta = 1 minus the elbo, else that of beta-VAE (Higgins et al.,
ICLR 2017, eq. 4). "elbo" is always that of beta = 1.

Bernoulli likelihood: the targets are the grey levels (x + 1) / 2 in [0, 1]. They are not binarised,
so that elbo is not comparable with published numbers on binarised MNIST. Gaussian: a density in the
[-1, 1] scale with a fixed standard deviation `model.likelihood.scale`; elbo may be positive.

Evaluations by name are in `evaluations`, all that other autoencoders share in `autoencoder`.
"""

from __future__ import annotations

from typing import Any

import jax
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Key, Metrics, Task
from gan_jax.methods.vae import autoencoder
from gan_jax.methods.vae.autoencoder import make_autoencoder
from gan_jax.objectives.distributions import kl


def rules(*, beta: float = 1.0) -> float:
    """Return the weight of the KL divergence: 1 is the VAE, more is beta-VAE."""
    if beta < 0:
        raise UserError(f"task.beta={beta}: at least 0; 1 is the plain VAE")
    return beta


RULES = Choice({"vae": rules})
SECTIONS: Sections = {"task": RULES, **autoencoder.SECTIONS}


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a VAE.

    Args:
      config: complete, see `SECTIONS`.
      spec: of data with a stream "image"; labels are not used.

    Raises:
      UserError: a field outside its range.
    """
    beta = build("task", config.task, RULES)
    auto = make_autoencoder(config, spec)

    def objective(nets: Any, images: jax.Array, keys: Key) -> tuple[jax.Array, Metrics]:
        posterior = auto.posterior(nets, images)
        outputs = nets.decoder(posterior.sample(keys))
        reconstruction = auto.likelihood(outputs).log_prob(images)
        divergence = kl(posterior, auto.prior)
        metrics = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
        }
        return beta * divergence - reconstruction, metrics

    return auto.task("vae", objective)


def sections(config: ConfigDict) -> Sections:
    """Return what the sections of a VAE's config choose from."""
    return SECTIONS
