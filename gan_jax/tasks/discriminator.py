"""One update of a discriminator, the same for every adversarial task.

Real and generated images pass it apart: BatchNorm would tell them by their batch. What its passes
move (batch statistics, spectral-norm vectors) goes from the real pass to the fake one and is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import linen as nn

from gan_jax.errors import UserError
from gan_jax.losses.adversarial import Game
from gan_jax.parallel import example_keys
from gan_jax.regularisers.gradient_penalty import gradient_penalty
from gan_jax.state import NetState, apply_gradients
from gan_jax.task import Key, Metrics

# (variables, images) -> (logits, the collections that moved)
Judge = Callable[[Any, jax.Array], tuple[jax.Array, Any]]


def check_penalty(weight: float, discriminator: nn.Module, inputs: tuple) -> None:
    """Raise UserError unless a gradient penalty of that weight fits the discriminator.

    Args:
      weight: `task.gradient_penalty`.
      discriminator: the network.
      inputs: its abstract inputs.
    """
    if weight < 0:
        raise UserError(f"task.gradient_penalty={weight}: at least 0, which is none")
    if not weight:
        return
    variables = jax.eval_shape(
        lambda key, *x: discriminator.init(key, *x, train=False), jax.random.key(0), *inputs
    )
    if "batch_stats" in variables:
        raise UserError(
            f"task.gradient_penalty={weight} with BatchNorm in the discriminator: the penalty is on"
            " the gradient of a logit in its own image, and BatchNorm makes a logit depend on the"
            " whole batch (arXiv:1704.00028, section 4): set --config.model.disc_norm=layer or none"
        )


def update_discriminator(
    net: NetState,
    judge: Judge,
    *,
    real: jax.Array,
    fake: jax.Array,
    game: Game,
    optimizer: optax.GradientTransformation,
    weight: float = 1.0,
    penalty_weight: float = 0.0,
    penalty_key: Key | None = None,
) -> tuple[NetState, Metrics, tuple[jax.Array, jax.Array]]:
    """Take one step of the discriminator's optimizer.

    Args:
      net: the discriminator.
      judge: one pass of it in training.
      real: images [B, H, W, C].
      fake: generated ones of the same shape; no gradient goes back to their generator.
      game: the loss.
      optimizer: the one that made `net.opt_state`.
      weight: of the loss without penalties.
      penalty_weight: of `gradient_penalty`; 0 for none.
      penalty_key: of the penalty's draws; only with a penalty.

    Returns:
      The network after the step; metrics "disc" (the loss without penalties), "gradient_penalty"
      (unweighted, with a penalty only), "accuracy/real" and "accuracy/fake" (of a game with a
      boundary only); and the logits (real, fake) before the step.
    """

    def loss_of(params: Any) -> Any:
        variables = {**net.variables(), "params": params}
        real_logits, extra = judge(variables, real)
        variables = {**variables, **extra}
        fake_logits, extra = judge(variables, fake)
        game_loss = game.discriminator(real_logits=real_logits, fake_logits=fake_logits).mean()
        loss = weight * game_loss
        metrics = {"disc": loss}
        if penalty_weight:
            penalty = gradient_penalty(
                critic=lambda images: judge({**variables, **extra}, images)[0],
                real=real,
                fake=fake,
                keys=example_keys(penalty_key, len(real)),
            ).mean()
            metrics["gradient_penalty"] = penalty
            loss = loss + penalty_weight * penalty
        return loss, (extra, metrics, (real_logits, fake_logits))

    gradients, (extra, metrics, logits) = jax.grad(loss_of, has_aux=True)(net.params)
    if game.boundary is not None:
        metrics["accuracy/real"] = (logits[0] > game.boundary).mean()
        metrics["accuracy/fake"] = (logits[1] < game.boundary).mean()
    return apply_gradients(net, gradients, optimizer, extra=extra), metrics, logits
