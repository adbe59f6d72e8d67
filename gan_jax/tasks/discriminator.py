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
from gan_jax.gradients import mean_gradients
from gan_jax.losses.adversarial import Game
from gan_jax.regularisers.gradient_penalty import gradient_penalty
from gan_jax.state import NetState, apply_gradients
from gan_jax.task import Metrics

# (variables, images) -> (logits, the collections that moved)
Judge = Callable[[Any, jax.Array], tuple[jax.Array, Any]]
# inputs -> (one pass of the discriminator in training, real images, generated images)
Sides = Callable[[Any], tuple[Judge, jax.Array, jax.Array]]


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
    sides: Sides,
    inputs: Any,
    *,
    game: Game,
    optimizer: optax.GradientTransformationExtraArgs,
    microbatches: int,
    weight: float = 1.0,
    penalty_weight: float = 0.0,
    penalty_keys: jax.Array | None = None,
) -> tuple[NetState, Metrics]:
    """Take one step of the discriminator's optimizer.

    Args:
      net: the discriminator.
      sides: what it compares, for a microbatch; no gradient goes back to the generator.
      inputs: pytree of [B, ...] that `sides` is given, a microbatch at a time.
      game: the loss.
      optimizer: the one that made `net.opt_state`.
      microbatches: see `gan_jax.gradients`.
      weight: of the loss without penalties.
      penalty_weight: of `gradient_penalty`; 0 for none.
      penalty_keys: typed PRNG keys [B] of the penalty's draws; only with a penalty.

    Returns:
      The network after the step; and metrics "disc" (the loss without penalties, weighted),
      "gradient_penalty" (unweighted, with a penalty only), "logits/real" and "logits/fake",
      "accuracy/real" and "accuracy/fake" (of a game with a boundary only), all before the step; and
      "grad_norm/disc".
    """

    def loss_of(params: Any, extra: Any, inputs: Any) -> Any:
        given, keys = inputs
        judge, real, fake = sides(given)
        variables = {"params": params, **extra}
        real_logits, moved = judge(variables, real)
        variables |= moved
        fake_logits, moved = judge(variables, fake)
        variables |= moved
        game_loss = game.discriminator(real_logits=real_logits, fake_logits=fake_logits).mean()
        loss = weight * game_loss
        metrics = {
            "disc": loss,
            "logits/real": real_logits.mean(),
            "logits/fake": fake_logits.mean(),
        }
        if game.boundary is not None:
            metrics["accuracy/real"] = (real_logits > game.boundary).mean()
            metrics["accuracy/fake"] = (fake_logits < game.boundary).mean()
        if penalty_weight:
            penalty = gradient_penalty(
                critic=lambda images: judge(variables, images)[0], real=real, fake=fake, keys=keys
            ).mean()
            metrics["gradient_penalty"] = penalty
            loss = loss + penalty_weight * penalty
        return loss, ({**extra, **moved}, metrics)

    gradients, extra, metrics = mean_gradients(
        loss_of, net.params, net.extra, (inputs, penalty_keys), microbatches=microbatches
    )
    net, norm = apply_gradients(net, gradients, optimizer, extra=extra)
    return net, {**metrics, "grad_norm/disc": norm}
