"""The method "gan": one generator and one discriminator, or one pair per pyramid level (LAPGAN)."""

from __future__ import annotations

from ml_collections import ConfigDict

from gan_jax.core.choices import Sections, build
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Task
from gan_jax.methods.gan import lapgan
from gan_jax.methods.gan.assembly import CONDITIONS, make_networks
from gan_jax.methods.gan.augment import AUGMENTATIONS
from gan_jax.methods.gan.codes import CODES
from gan_jax.methods.gan.gan import Players, make_gan
from gan_jax.methods.gan.growth import GROWTH
from gan_jax.methods.gan.latents import LATENTS, make_draw
from gan_jax.methods.gan.networks import DISCRIMINATORS, GENERATORS
from gan_jax.methods.gan.rules import RULES
from gan_jax.methods.gan.terms import DISC_TERMS, GEN_TERMS
from gan_jax.training.optimizers import OPTIMIZERS

SECTIONS: Sections = {
    "task": RULES,
    "task.growth": GROWTH,
    "model": LATENTS,
    "model.conditional": CONDITIONS,
    "model.codes": CODES,
    "model.gen": GENERATORS,
    "model.disc": DISCRIMINATORS,
    "optim.gen": OPTIMIZERS,
    "optim.disc": OPTIMIZERS,
    "augment": AUGMENTATIONS,
    "terms.disc": DISC_TERMS,
    "terms.gen": GEN_TERMS,
}


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section of a GAN's config."""
    return SECTIONS


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a GAN; fields are in `configs/dcgan.py`, those of a pyramid in `configs/lapgan.py`."""
    build("model", config.model, LATENTS)
    if config.model.gen.name == config.model.disc.name == "lapgan":
        return lapgan.make_task(config, spec)
    codes = build("model.codes", config.model.codes, CODES)
    generator, discriminator, classes = make_networks(config, spec, codes)
    draw, latent = make_draw(config.model.latent, codes, classes)
    players = Players(generator, discriminator, classes, draw, (latent,))
    return make_gan(config, spec, players, codes)
