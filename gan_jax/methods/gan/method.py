"""The method "gan": one generator against one discriminator, or a pair of them a level (LAPGAN)."""

from __future__ import annotations

from ml_collections import ConfigDict

from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Task
from gan_jax.methods.gan import lapgan
from gan_jax.methods.gan.gan import make_gan
from gan_jax.methods.gan.latents import Players, make_draw
from gan_jax.methods.gan.networks import make_networks


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a GAN; see `configs/dcgan.py` for its fields, `configs/lapgan.py` for a pyramid's."""
    if config.model.net == "lapgan":
        return lapgan.make_task(config, spec)
    generator, discriminator, classes = make_networks(config, spec)
    draw, latent = make_draw(config.model, classes)
    return make_gan(config, spec, Players(generator, discriminator, classes, draw, (latent,)))
