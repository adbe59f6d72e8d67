"""GANs: a generator against a discriminator, optionally given the class.

A GAN is composed: the networks and their normalisation (`gan_networks`), the game that they play
(`losses.adversarial.GAMES`), and a gradient penalty on the discriminator. Each update draws its own
latents, and sampling uses the moving average of the generator.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.axes import example_keys
from gan_jax.compute import training_apply
from gan_jax.errors import UserError
from gan_jax.gradients import mean_gradients
from gan_jax.keys import fold_in_each
from gan_jax.losses.adversarial import make_game
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.optim import make_optimizer
from gan_jax.spec import DataSpec
from gan_jax.standing import STANDING, batch_statistics, require_statistics
from gan_jax.state import MUTABLE, TrainState, apply_gradients, ema_decay_at, init_net, new_state
from gan_jax.task import WEIGHTS, Batch, Key, Metrics, Option, Phase, Task
from gan_jax.tasks.discriminator import check_penalty, update_discriminator
from gan_jax.tasks.gan_networks import make_networks

OPTIONS = {
    "weights": WEIGHTS,
    "truncation": Option(
        0.0, "latents beyond this many standard deviations are drawn again; 0: none", low=0.0
    ),
    "standing": STANDING,
}
GRID_ROWS = 8  # of the unconditional sample grid; a conditional one has a row a class
MOST_CLASSES = 16  # that a sample grid shows


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a GAN; see `configs/dcgan.py` for its fields."""
    generator, discriminator, classes = make_networks(config.model, spec)
    game = make_game(config.task.loss, label_smoothing=config.task.label_smoothing)
    penalty = config.task.gradient_penalty
    latent, updates = config.model.latent, config.task.disc_updates
    if updates < 1:
        raise UserError(f"task.disc_updates={updates}: at least 1 a generator update")
    apply_gen, apply_disc = (
        training_apply(net, precision=config.train.precision, remat=config.train.remat)
        for net in (generator, discriminator)
    )
    steps = config.train.steps
    gen_optimizer = make_optimizer(**config.optim.gen, steps=steps)
    disc_optimizer = make_optimizer(**config.optim.disc, steps=steps * updates)
    images = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    labels = (jax.ShapeDtypeStruct((1,), jnp.int32),) if classes else ()
    inputs = {
        "gen": (jax.ShapeDtypeStruct((1, latent), jnp.float32), *labels),
        "disc": (images, *labels),
    }
    check_penalty(penalty, discriminator, inputs["disc"])

    def init(key: Key) -> TrainState:
        gen_key, disc_key = jax.random.split(key)
        ema = config.train.ema_decay > 0
        gen = init_net(generator, gen_key, inputs["gen"], gen_optimizer, ema=ema, train=False)
        disc = init_net(discriminator, disc_key, inputs["disc"], disc_optimizer, train=False)
        return new_state({"gen": gen, "disc": disc})

    def draw(keys: jax.Array, labels: jax.Array | None, truncation: float = 0.0) -> Any:
        """Return the generator's arguments, (z,) or (z, labels), one entry a key."""

        def normal(key: Key) -> jax.Array:
            if truncation:
                return jax.random.truncated_normal(key, -truncation, truncation, (latent,))
            return jax.random.normal(key, (latent,))

        z_keys, label_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        z = jax.vmap(normal)(z_keys)
        if not classes:
            return (z,)
        if labels is None:
            labels = jax.vmap(lambda key: jax.random.randint(key, (), 0, classes))(label_keys)
        return (z, labels)

    def update_disc(
        state: TrainState, real: jax.Array, given: tuple, key: Key
    ) -> tuple[TrainState, Metrics]:
        gen = state.nets["gen"].variables()
        key, penalty_key = jax.random.split(key) if penalty else (key, None)

        def sides(inputs: Any) -> Any:
            real, (z, *given) = inputs
            # What the generator's pass moves is kept once a step, in its own update.
            fake, _ = apply_gen(gen, z, *given, train=True, mutable=MUTABLE)
            judge = lambda variables, images: apply_disc(  # noqa: E731
                variables, images, *given, train=True, mutable=MUTABLE
            )
            return judge, real, fake

        disc, metrics = update_discriminator(
            state.nets["disc"],
            sides,
            (real, draw(example_keys(key, len(real)), *(given or (None,)))),
            game=game,
            optimizer=disc_optimizer,
            microbatches=config.train.microbatches,
            penalty_weight=penalty,
            penalty_keys=example_keys(penalty_key, len(real)) if penalty else None,
        )
        return state.replace(nets={**state.nets, "disc": disc}), metrics

    def update_gen(
        state: TrainState, real: jax.Array, given: tuple, key: Key
    ) -> tuple[TrainState, Metrics]:
        gen, disc = state.nets["gen"], state.nets["disc"].variables()

        def loss_of(params: Any, extra: Any, inputs: Any) -> Any:
            real, (z, *given) = inputs
            variables = {"params": params, **extra}
            fake, moved = apply_gen(variables, z, *given, train=True, mutable=MUTABLE)
            judge = lambda x: apply_disc(disc, x, *given, train=True, mutable=MUTABLE)[0]  # noqa: E731
            compared = {"real_logits": judge(real)} if game.relativistic else {}
            loss = game.generator(fake_logits=judge(fake), **compared).mean()
            return loss, ({**extra, **moved}, {"gen": loss})

        gradients, extra, metrics = mean_gradients(
            loss_of,
            gen.params,
            gen.extra,
            (real, draw(example_keys(key, len(real)), *(given or (None,)))),
            microbatches=config.train.microbatches,
        )
        decay = ema_decay_at(state.step, config.train.ema_decay)
        gen, norm = apply_gradients(gen, gradients, gen_optimizer, extra=extra, ema_decay=decay)
        return state.replace(nets={**state.nets, "gen": gen}), {**metrics, "grad_norm/gen": norm}

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        keys = jax.random.split(key, phase.draws + 1)
        metrics: Metrics = {}
        given: tuple = ()
        for i in range(phase.draws):
            given = (batch["label"][i],) if classes else ()
            state, metrics = update_disc(state, batch["image"][i], given, keys[i])
        state, gen_metrics = update_gen(state, batch["image"][-1], given, keys[-1])
        return state, {**gen_metrics, **metrics}

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        given = (batch["label"],) if classes else ()
        fake = generate(state, draw(keys, *(given or (None,))), weights="ema")
        variables = state.nets["disc"].variables()
        real_logits, fake_logits = (
            discriminator.apply(variables, images, *given, train=False)
            for images in (batch["image"], fake)
        )
        values = {"disc_logits_real": real_logits, "disc_logits_fake": fake_logits}
        if game.boundary is not None:
            values["disc_accuracy_real"] = real_logits > game.boundary
            values["disc_accuracy_fake"] = fake_logits < game.boundary
        return masked_sums(values, batch["mask"])

    def latents(keys: jax.Array, labels: jax.Array | None, **options: Any) -> Any:
        if labels is not None and not classes:
            raise UserError(f"this GAN on {spec.name} is unconditional: leave labels out")
        return draw(keys, labels, options["truncation"])

    def generate(state: TrainState, latents: Any, **options: Any) -> jax.Array:
        variables = state.nets["gen"].variables(options["weights"])
        return generator.apply(variables, *latents, train=False)

    def statistics(state: TrainState, latents: Any, **options: Any) -> dict[str, Any]:
        variables = state.nets["gen"].variables(options["weights"])
        require_statistics("this generator", variables)
        return {"gen": batch_statistics(generator, variables, *latents)}

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        rows, columns = min(classes, MOST_CLASSES) or GRID_ROWS, len(batch["image"])
        keys = jax.random.split(key, rows * columns)
        given = jnp.repeat(jnp.arange(rows), columns) if classes else None
        images = generate(state, draw(keys, given), weights="ema")
        return {"samples": images.reshape(rows, columns, *images.shape[1:])}

    return Task(
        name="gan",
        modules={"gen": generator, "disc": discriminator},
        example_inputs=inputs,
        phase=lambda step: Phase("train", updates),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        latents=latents,
        generate=generate,
        statistics=statistics,
        grids=grids,
        options=OPTIONS,
    )
