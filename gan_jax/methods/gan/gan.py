"""GANs: a generator against a discriminator, optionally given the class.

A GAN is composed: the networks, their normalisation and conditioning (`networks`), the game that
they play (`objectives.adversarial.GAMES`), what else each minimises (`terms`), how the
images that the discriminator sees are augmented, and how the networks grow (`growth`). Each update
draws its own latents, and sampling uses the moving average of the generator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import MUTABLE, TrainState, init_net, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.gan.augment import make_augment
from gan_jax.methods.gan.buffers import initial_buffers, moved_buffers, with_averages
from gan_jax.methods.gan.checks import check_task
from gan_jax.methods.gan.discriminator import Sides, term_keys, update_discriminator
from gan_jax.methods.gan.growth import make_growth
from gan_jax.methods.gan.latents import Players, make_interpolate, make_latents, sample_grid
from gan_jax.methods.gan.networks import check_terms
from gan_jax.methods.gan.odds import make_check_odds
from gan_jax.methods.gan.terms import (
    Seen,
    add_terms,
    disc_terms,
    due_names,
    gen_terms,
    make_terms,
    taken,
)
from gan_jax.methods.update import apply_gradients
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.objectives.adversarial import make_game, top_k_share, top_k_weights
from gan_jax.parallel.axes import example_keys
from gan_jax.parallel.microbatches import mean_gradients
from gan_jax.parallel.precision import training_apply
from gan_jax.sampling.rejection import OPTIONS as REJECTION
from gan_jax.sampling.standing import STANDING, batch_statistics, require_statistics
from gan_jax.training.averages import ema_schedule, keeps_average
from gan_jax.training.optimizers import make_optimizer

OPTIONS = {
    "weights": WEIGHTS,
    "truncation": Option(
        0.0, "latents beyond this many standard deviations are drawn again; 0: none", low=0.0
    ),
    "standing": STANDING,
    **REJECTION,
}


def make_gan(config: ConfigDict, spec: DataSpec, players: Players) -> Task:
    """Build a GAN of given networks."""
    generator, discriminator, classes, draw, given_shape, beside = players
    game = make_game(config.task.loss, label_smoothing=config.task.label_smoothing)
    check_task(config)
    task, updates, microbatches = config.task, config.task.disc_updates, config.train.microbatches
    all_terms = {
        "disc": make_terms(config.terms.disc, disc_terms(config)),
        "gen": make_terms(config.terms.gen, gen_terms(config)),
    }
    growth = make_growth(config, spec.image_shape)
    augment = make_augment(config.augment, game)
    semi = config.model.conditional == "semi_supervised"
    dropout = config.model.disc_dropout > 0
    # In steps, for top-k: each has as many batches of real images as the discriminator updates.
    epoch = max(spec.counts.get("train", 0), 1) / (config.train.batch_size * updates)
    apply_gen, apply_disc = (
        training_apply(net, precision=config.train.precision, remat=config.train.remat)
        for net in (generator, discriminator)
    )
    steps, decay_at = config.train.steps, ema_schedule(config.train)
    gen_optimizer = make_optimizer(**config.optim.gen, steps=steps)
    disc_optimizer = make_optimizer(**config.optim.disc, steps=steps * updates)
    images = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    labels = (jax.ShapeDtypeStruct((1,), jnp.int32),) if classes else ()
    inputs = {
        "gen": (jax.ShapeDtypeStruct((1, *given_shape), jnp.float32), *labels),
        "disc": (images, *labels),
    }
    check_terms(config, discriminator, inputs["disc"])

    def due(step: int) -> tuple[str, ...]:
        return sum((due_names(player, terms, step) for player, terms in all_terms.items()), ())

    def init(key: Key) -> TrainState:
        gen_key, disc_key = jax.random.split(key)
        kept = keeps_average(config.train)
        ema = dict(gen=kept, disc=kept and semi)
        gen, disc = (
            init_net(net, key, inputs[name], optimizer, ema=ema[name], train=False)
            for name, net, key, optimizer in (
                ("gen", generator, gen_key, gen_optimizer),
                ("disc", discriminator, disc_key, disc_optimizer),
            )
        )
        nets, adaptive = {"gen": gen, "disc": disc}, config.augment.name == "ada"
        return new_state(nets, initial_buffers(nets, all_terms, adaptive=adaptive))

    def passes(phase: Phase, state: TrainState) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Return one pass of each network in training, at the stage of this step if they grow."""
        given = dict(growth.arguments(phase.stage, state.step), train=True, mutable=MUTABLE)

        def judge(variables: Any, images: jax.Array, labels: Any, keys: Any) -> Any:
            masks = {"keys": keys} if dropout else {}
            return apply_disc(variables, images, *labels, **given, **masks, method="outputs")

        return functools.partial(apply_gen, **given), judge

    def drawn_for(key: Key, real: jax.Array, given: tuple) -> Any:
        """Return the generator's arguments beside a batch of real images with labels `given`."""
        labels = given[0] if given and task.fake_labels == "real" else None
        return beside(draw(example_keys(key, len(real)), labels), real)

    def split(key: Key, terms: Any, batch: int) -> tuple[Any, ...]:
        """Return keys of the latents, the terms and the augmentation, and [batch] of dropout.

        The key itself if there is but one use of it.
        """
        if not (terms or augment.draws or dropout):
            return key, None, None, None
        *keys, last = jax.random.split(key, 4)
        return *keys, example_keys(last, batch) if dropout else None

    def update_disc(
        phase: Phase,
        state: TrainState,
        real: jax.Array,
        given: tuple,
        labelled: tuple,
        key: Key,
        number: int,
    ) -> tuple[TrainState, Metrics]:
        gen, terms = state.nets["gen"].variables(), taken("disc", all_terms["disc"], phase.due)
        make, judge = passes(phase, state)
        key, terms_key, augment_key, masks = split(key, terms, len(real))
        drawn = drawn_for(key, real, given)

        def generate(*drawn: Any) -> jax.Array:
            # What the generator's pass moves is kept once a step, in its own update.
            return make(gen, *drawn)[0]

        def sides(inputs: Any) -> Sides:
            real, given, drawn, keys, labelled, masks = inputs
            seen = (real, generate(*drawn), *labelled[:1])
            real, fake, *few = augment(seen, keys, state.buffers)
            return Sides(
                *(lambda v, x, y=y: judge(v, x, y, masks) for y in (given, drawn[1:])),
                *(real, fake, given, drawn, generate, (*few, *labelled[1:])),
            )

        disc, metrics = update_discriminator(
            state.nets["disc"],
            sides,
            (real, given, drawn, augment.keys(augment_key, len(real), 2 + semi), labelled, masks),
            game=game,
            optimizer=disc_optimizer,
            microbatches=microbatches,
            terms=terms,
            key=terms_key,
            buffers={**state.buffers, "updates": state.step * phase.draws + number},
            clip=task.weight_clipping,
            freeze=task.freeze_disc,
            ema_decay=decay_at(state.step),
        )
        buffers = with_averages(state.buffers, metrics)
        return state.replace(nets={**state.nets, "disc": disc}, buffers=buffers), metrics

    def update_gen(
        phase: Phase, state: TrainState, real: jax.Array, given: tuple, key: Key
    ) -> tuple[TrainState, Metrics]:
        gen, disc = state.nets["gen"], state.nets["disc"].variables()
        terms = taken("gen", all_terms["gen"], phase.due)
        make, judge = passes(phase, state)
        key, terms_key, augment_key, masks = split(key, terms, len(real))
        drawn = drawn_for(key, real, given)

        def loss_of(params: Any, extra: Any, inputs: Any) -> Any:
            real, given, drawn, augment_keys, keys, masks = inputs
            variables = {"params": params, **extra}
            fake, moved = make(variables, *drawn)
            real, fake = augment((real, fake), augment_keys, state.buffers)
            said, said_fake = (
                lambda images, y=y: judge(disc, images, y, masks)[0] for y in (given, drawn[1:])
            )
            seen = Seen(
                judge=said,
                judge_fake=said_fake,
                real=real,
                fake=fake,
                said_of_real=None,
                said_of_fake=said_fake(fake),
                given=given,
                drawn=drawn,
                generate=lambda *x: make(variables, *x)[0],
                params=params,
                buffers=state.buffers,
                keys=None,
            )
            logits = seen.said_of_fake.logits
            compared = {"real_logits": seen.judge(real).logits} if game.relativistic else {}
            values = game.generator(fake_logits=logits, **compared)
            if task.top_k < 1:
                share = top_k_share(
                    step=state.step, epoch=epoch, decay=task.top_k_decay, lowest=task.top_k
                )
                values = values * top_k_weights(fake_logits=logits, share=share)
            loss = values.mean()
            total, metrics = add_terms("gen", task.gen_weight * loss, terms, seen, keys)
            return total, ({**extra, **moved}, {"gen": loss, **metrics})

        gradients, extra, metrics = mean_gradients(
            loss_of,
            gen.params,
            gen.extra,
            (
                real,
                given,
                drawn,
                augment.keys(augment_key, len(real)),
                term_keys(terms_key, terms, len(real)),
                masks,
            ),
            microbatches=microbatches,
        )
        decay = decay_at(state.step)
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
            labelled = tuple(batch[f"labelled_{x}"][i] for x in ("image", "label") if semi)
            real = growth.resize(batch["image"][i], phase.stage, state.step)
            state, metrics = update_disc(phase, state, real, given, labelled, keys[i], i)
        state, gen_metrics = update_gen(phase, state, real, given, keys[-1])
        buffers = moved_buffers(
            state,
            metrics,
            batch_size=config.train.batch_size,
            ramp_images=config.augment.ramp_images,
        )
        if "ada" in buffers:
            metrics = {**metrics, "augment/p": buffers["ada"]["p"]}
        return state.replace(buffers=buffers), {**gen_metrics, **metrics}

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        given = (batch["label"],) if classes else ()
        drawn = beside(draw(keys, *(given or (None,))), batch["image"])
        variables = state.nets["disc"].variables()

        def judged(stage: int | None) -> tuple[jax.Array, ...]:
            arguments = growth.arguments(stage, state.step)
            real = growth.resize(batch["image"], stage, state.step)
            fake = generator.apply(
                state.nets["gen"].variables("ema"), *drawn, train=False, **arguments
            )
            return tuple(
                discriminator.apply(variables, images, *given, train=False, **arguments)
                for images in (real, fake)
            )

        real_logits, fake_logits = growth.at(state.step, judged)
        values = {"disc_logits_real": real_logits, "disc_logits_fake": fake_logits}
        if game.boundary is not None:
            values["disc_accuracy_real"] = real_logits > game.boundary
            values["disc_accuracy_fake"] = fake_logits < game.boundary
        if semi:
            average = state.nets["disc"].variables("ema")
            said = discriminator.apply(average, batch["image"], train=False, method="outputs")
            values["accuracy"] = said.heads["class"].argmax(-1) == batch["label"]
        return masked_sums(values, batch["mask"])

    def generate(state: TrainState, latents: Any, **options: Any) -> jax.Array:
        variables = state.nets["gen"].variables(options["weights"])

        def made(stage: int | None) -> jax.Array:
            arguments = growth.arguments(stage, state.step)
            return growth.enlarge(generator.apply(variables, *latents, train=False, **arguments))

        return growth.at(state.step, made)

    def judge(state: TrainState, images: jax.Array, labels: jax.Array | None) -> jax.Array:
        given = (labels,) if classes else ()
        variables = state.nets["disc"].variables()

        def judged(stage: int | None) -> jax.Array:
            arguments = growth.arguments(stage, state.step)
            seen = growth.resize(images, stage, state.step)
            return discriminator.apply(variables, seen, *given, train=False, **arguments)

        return growth.at(state.step, judged)

    def statistics(state: TrainState, latents: Any, **options: Any) -> dict[str, Any]:
        variables = state.nets["gen"].variables(options["weights"])
        require_statistics("this generator", variables)
        return {"gen": batch_statistics(generator, variables, *latents)}

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        make = functools.partial(generate, state, weights="ema")
        return {"samples": sample_grid(make, draw, classes, len(batch["image"]), key)}

    return Task(
        name="gan",
        modules={"gen": generator, "disc": discriminator},
        example_inputs=inputs,
        phase=lambda step: Phase("train", updates, due(step), growth.stage(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        latents=make_latents(draw, classes, spec.name),
        interpolate=make_interpolate(config.model, classes),
        generate=generate,
        statistics=statistics,
        judge=judge,
        check_odds=make_check_odds(config, game),
        grids=grids,
        options=OPTIONS,
        group=growth.group,
    )
