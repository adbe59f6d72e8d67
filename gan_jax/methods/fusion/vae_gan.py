"""VAE-GAN: an autoencoder that is judged by a discriminator (Larsen et al., arXiv:1512.09300).

Algorithm 1 of the paper. From one forward pass of images x, their reconstructions, and images that
are decoded from draws of the prior, each of the three networks minimises an objective of its own:

    encoder         kl - likelihood
    decoder         - gamma likelihood + game of the generator
    discriminator   game of the discriminator

kl = KL(q(z|x) || N(0, I)); the likelihood is that of the discriminator's features of x under a
normal distribution of unit variance around those of the reconstruction (eq. 7), summed over
features. With `task.loss` minimax the decoder's game is minus the discriminator's, as in the paper.
No gradient of the game reaches the encoder, and none of the KL divergence the decoder.

Deviations: features are the last convolution's, which the logit is linear in, where the paper's
discriminator has a dense layer above; reconstructions and decoded draws count one half each in the
game, so that real and generated images weigh the same (the paper's sum weighs both by one; so do
their program's weights); there is no rule that leaves out updates of the stronger player.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.metric_names import log_name
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Key, Metrics, Task
from gan_jax.methods.gan.networks import DISCRIMINATORS
from gan_jax.methods.roles import checked_discriminator
from gan_jax.methods.terms import terms_of
from gan_jax.methods.update import make_net
from gan_jax.methods.vae.autoencoder import NETWORK_SECTIONS, make_autoencoder
from gan_jax.models.blocks.heads import Head
from gan_jax.objectives.adversarial import Game, make_game
from gan_jax.objectives.distributions import PixelNormal, kl
from gan_jax.training.optimizers import OPTIMIZERS


def rules(*, gamma: float = 1e-3, loss: str = "minimax") -> tuple[float, Game]:
    """Return the weight of the likelihood in the decoder's objective, and the game."""
    if gamma < 0:
        raise UserError(f"task.gamma={gamma}: at least 0")
    game = make_game(loss)
    if game.relativistic:
        raise UserError(f"task.loss={loss} compares with real images: use minimax or another")
    return gamma, game


RULES = Choice({"vae_gan": rules})
SECTIONS: Sections = {
    "task": RULES,
    **NETWORK_SECTIONS,
    "model.disc": DISCRIMINATORS,
    "optim.disc": OPTIMIZERS,
    "terms.disc": terms_of(),
}


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a VAE-GAN; see `configs/vae_gan.py` for its fields."""
    gamma, game = build("task", config.task, RULES)
    shape, chosen = tuple(spec.image_shape), config.model.disc
    disc = build("model.disc", chosen, DISCRIMINATORS, image_shape=shape, classes=0, head=Head())
    inputs = (jax.ShapeDtypeStruct((1, *shape), jnp.float32),)
    disc = checked_discriminator(chosen.name, disc, inputs)
    net = make_net(disc, inputs, config.optim.disc, config.train, average=False)
    auto = make_autoencoder(config, spec, {"disc": net})

    def objective(nets: Any, images: jax.Array, keys: Key) -> tuple[dict[str, Any], Metrics]:
        keys = jax.vmap(jax.random.split)(keys)
        posterior = auto.posterior(nets, images)
        made = (
            nets.decoder(posterior.sample(keys[:, 0])),
            nets.decoder(auto.prior.sample(keys[:, 1])),
        )
        # Passed apart: BatchNorm would tell them by their batch.
        real, *fakes = (nets.disc(x, method="outputs") for x in (images, *made))
        likelihood = PixelNormal(fakes[0].features, 1.0).log_prob(real.features)
        divergence = kl(posterior, auto.prior)
        fooling = sum(game.generator(fake_logits=fake.logits) for fake in fakes) / 2
        telling = (
            sum(
                game.discriminator(real_logits=real.logits, fake_logits=fake.logits)
                for fake in fakes
            )
            / 2
        )
        losses = {
            "encoder": divergence - likelihood,
            "decoder": gamma * -likelihood + fooling,
            "disc": telling,
        }
        seen = {"kl": divergence, "likelihood": likelihood, "gen": fooling, "disc": telling}
        logits = {"real": real.logits, "reconstructed": fakes[0].logits, "drawn": fakes[1].logits}
        return losses, {**seen, **{log_name("logits", name): x for name, x in logits.items()}}

    return auto.task("vae_gan", objective)


def sections(config: ConfigDict) -> Sections:
    """Return what the sections of its config choose from."""
    return SECTIONS
