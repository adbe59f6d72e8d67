"""One update of a discriminator, the same for every adversarial task.

Real and generated images pass it apart: BatchNorm would tell them by their batch. What its passes
move (batch statistics, spectral-norm vectors) goes from the real pass to the fake one and is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from gan_jax.core.state import NetState
from gan_jax.core.task import Key, Metrics
from gan_jax.methods.gan.terms import Seen, Term, add_terms
from gan_jax.methods.update import apply_gradients
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.adversarial import Game
from gan_jax.objectives.weights import clip_weights, frozen
from gan_jax.parallel.axes import example_keys
from gan_jax.parallel.microbatches import mean_gradients


class Sides(NamedTuple):
    """What a discriminator compares.

    Attributes:
      judge: (variables, images) -> (Outputs, the collections that moved), a pass in training, as
        of images that have what the real ones are given, their classes.
      judge_fake: the same, given what the generated ones are.
      real, fake: images [B, H, W, C].
      given, drawn, generate, labelled: as in `terms.Seen`; only some terms need them.
    """

    judge: Callable[[Any, jax.Array], tuple[Outputs, Any]]
    judge_fake: Callable[[Any, jax.Array], tuple[Outputs, Any]]
    real: jax.Array
    fake: jax.Array
    given: tuple = ()
    drawn: Any = None
    generate: Callable[..., jax.Array] | None = None
    labelled: Any = None


def term_keys(key: Key | None, terms: Mapping[str, Term], batch: int) -> dict[str, jax.Array]:
    """Return keys [batch] a term, {name: keys}; none without terms, where `key` may be None."""
    if not terms:
        return {}
    keys = jax.random.split(key, len(terms))
    return {name: example_keys(k, batch) for name, k in zip(terms, keys, strict=True)}


def update_discriminator(
    net: NetState,
    sides: Callable[[Any], Sides],
    inputs: Any,
    *,
    game: Game,
    optimizer: optax.GradientTransformationExtraArgs,
    microbatches: int,
    weight: float = 1.0,
    terms: Mapping[str, Term] | None = None,
    key: Key | None = None,
    buffers: Mapping[str, Any] | None = None,
    clip: float = 0.0,
    freeze: int = 0,
    ema_decay: jax.Array | float = 0.0,
) -> tuple[NetState, Metrics]:
    """Take one step of the discriminator's optimizer.

    Args:
      net: the discriminator.
      sides: what it compares, for a microbatch; no gradient goes back to the generator.
      inputs: pytree of [B, ...] that `sides` is given, a microbatch at a time.
      game: the loss.
      optimizer: the one that made `net.opt_state`.
      microbatches: see `gan_jax.parallel.microbatches`.
      weight: of the game.
      terms: what else it minimises, of this step.
      key: typed PRNG key of the terms' draws; only with terms.
      buffers: of the state, for the terms.
      freeze: first stages that are not trained, see `objectives.weights.frozen`.
      clip: limit of every weight after the step; 0 for none.
      ema_decay: share of the network's moving average that is kept, where it has one.

    Returns:
      The network after the step; and metrics "disc" (the game's loss, weighted), "disc/TERM"
      (unweighted), "logits/real" and "logits/fake", "accuracy/real" and "accuracy/fake" (of a game
      with a boundary only), all before the step; and "grad_norm/disc".
    """
    terms = terms or {}
    keys = term_keys(key, terms, len(jax.tree.leaves(inputs)[0]))

    def loss_of(params: Any, extra: Any, inputs: Any) -> Any:
        given, keys = inputs
        params = frozen(params, freeze) if freeze else params
        side = sides(given)
        variables = {"params": params, **extra}
        real, moved = side.judge(variables, side.real)
        variables |= moved
        fake, moved = side.judge_fake(variables, side.fake)
        variables |= moved
        loss = weight * game.discriminator(real_logits=real.logits, fake_logits=fake.logits).mean()
        metrics = {
            "disc": loss,
            "logits/real": real.logits.mean(),
            "logits/fake": fake.logits.mean(),
        }
        if game.boundary is not None:
            metrics["accuracy/real"] = (real.logits > game.boundary).mean()
            metrics["accuracy/fake"] = (fake.logits < game.boundary).mean()
        seen = Seen(
            judge=lambda images: side.judge(variables, images)[0],
            judge_fake=lambda images: side.judge_fake(variables, images)[0],
            real=side.real,
            fake=side.fake,
            said_of_real=real,
            said_of_fake=fake,
            given=side.given,
            drawn=side.drawn,
            generate=side.generate,
            params=params,
            buffers=buffers or {},
            keys=None,
            labelled=side.labelled,
        )
        loss, more = add_terms("disc", loss, terms, seen, keys)
        return loss, ({**extra, **moved}, {**metrics, **more})

    gradients, extra, metrics = mean_gradients(
        loss_of, net.params, net.extra, (inputs, keys), microbatches=microbatches
    )
    net, norm = apply_gradients(net, gradients, optimizer, extra=extra, ema_decay=ema_decay)
    if clip:
        net = net.replace(params=clip_weights(net.params, clip))
    return net, {**metrics, "grad_norm/disc": norm}
