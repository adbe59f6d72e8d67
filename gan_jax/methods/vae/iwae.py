"""The importance-weighted autoencoder (Burda et al. 2015, arXiv:1509.00519), and what followed it.

One update maximises a bound of log p(x) from `task.samples` draws of z an image, differentiable in
the encoder: `task.bound` is IWAE's, or one of Rainforth et al. 2018 (arXiv:1802.04537), where PIWAE
gives encoder and decoder a bound each. IWAE with one draw is the VAE with a drawn KL divergence.

Images are binarised anew at each step, each pixel 1 with its grey level for a probability, as in
the paper; so they are in an evaluation during training. "elbo" and "iwae" are of all draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Key, Metrics, Task
from gan_jax.methods.vae import autoencoder
from gan_jax.methods.vae.evaluations import binarized
from gan_jax.objectives import bounds
from gan_jax.objectives.distributions import Bernoulli

Bound = Callable[[jax.Array], Any]


def rules(*, samples: int = 50, binarize: str = "bernoulli") -> tuple[int, str]:
    """Return draws of z an image, and how training images are binarised: bernoulli | none."""
    check_choice("task.binarize", binarize, ("bernoulli", "none"))
    if samples < 1:
        raise UserError(f"task.samples={samples}: at least 1")
    return samples, binarize


def iwae() -> Bound:
    """Return IWAE's bound."""
    return lambda weights: bounds.iwae(log_weights=weights)


def ciwae(*, beta: float = 0.05) -> Bound:
    """Return beta ELBO + (1 - beta) IWAE, beta in [0, 1]; 1 is the VAE of several draws."""
    if not 0 <= beta <= 1:
        raise UserError(f"task.bound.beta={beta}: in [0, 1]")
    return lambda weights: bounds.ciwae(log_weights=weights, beta=beta)


def miwae(*, samples: int, groups: int = 5) -> Bound:
    """Return the mean bound of `groups` groups of the draws."""
    split = _in_groups(samples, groups)
    return lambda weights: bounds.miwae(log_weights=split(weights))


def piwae(*, samples: int, groups: int = 5) -> Bound:
    """Return MIWAE of `groups` groups for the encoder and IWAE of all draws for the decoder."""
    split, nets = _in_groups(samples, groups), ("encoder", "decoder")
    return lambda weights: dict(zip(nets, bounds.piwae(log_weights=split(weights)), strict=True))


def _in_groups(samples: int, groups: int) -> Callable[[jax.Array], jax.Array]:
    if groups < 1 or samples % groups:
        raise UserError(f"task.bound.groups={groups} does not divide task.samples={samples}")
    return lambda weights: weights.reshape(groups, -1, weights.shape[-1])


BOUNDS = Choice(dict(iwae=iwae, ciwae=ciwae, miwae=miwae, piwae=piwae), ("samples",), "iwae")
RULES = Choice({"iwae": rules})
SECTIONS: Sections = {"task": RULES, "task.bound": BOUNDS, **autoencoder.SECTIONS}


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build an importance-weighted autoencoder; see `configs/iwae.py` for its fields."""
    samples, binarize = build("task", config.task, RULES)
    bound = build("task.bound", config.task.bound, BOUNDS, samples=samples)
    auto = autoencoder.make_autoencoder(config, spec)
    if binarize != "none" and auto.likelihood is not Bernoulli:
        raise UserError(
            f"task.binarize={binarize} with model.likelihood={config.model.likelihood.name}: the"
            " likelihood of binary images is bernoulli; set task.binarize=none for another"
        )

    def objective(nets: Any, images: jax.Array, keys: Key) -> tuple[Any, Metrics]:
        keys = jax.vmap(jax.random.split)(keys)
        images = binarized(images, keys[:, 0], how=binarize)
        weights = auto.log_weights(nets, images, keys[:, 1], samples)
        seen = {"elbo": bounds.elbo(log_weights=weights), "iwae": bounds.iwae(log_weights=weights)}
        return jax.tree.map(jnp.negative, bound(weights)), seen

    return auto.task("iwae", objective)


def sections(config: ConfigDict) -> Sections:
    """Return what the sections of its config choose from."""
    return SECTIONS
