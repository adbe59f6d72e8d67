"""GANs: a generator against a discriminator, optionally class-conditional.

A GAN is composed of networks with their normalisation and conditioning (`networks`), an adversarial
loss (`objectives.adversarial.GAMES`), further terms of each network's loss (`terms`), an
augmentation of the discriminator's inputs (`augment`), and progressive growing (`growth`). Each
update draws its own latents; sampling uses the moving average of the generator's weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.choices import build
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.adversarial import discriminator_loss
from gan_jax.methods.gan.assembly import check_terms
from gan_jax.methods.gan.augment import AUGMENTATIONS
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.growth import GROWING, make_growth
from gan_jax.methods.gan.latents import Draw, make_interpolate, make_latents, sample_grid
from gan_jax.methods.gan.rules import RULES
from gan_jax.methods.gan.terms import DISC_SEEN, DISC_TERMS, GEN_SEEN, GEN_TERMS
from gan_jax.methods.roles import check_generator, checked_discriminator
from gan_jax.methods.terms import Term, make_terms
from gan_jax.methods.update import Aux, Nets, make_net, make_update
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.objectives.adversarial import GAMES, Game, top_k_share, top_k_weights
from gan_jax.objectives.weights import clip_weights, frozen
from gan_jax.parallel.axes import example_keys
from gan_jax.sampling.rejection import CALIBRATED, RAW
from gan_jax.sampling.rejection import OPTIONS as REJECTION
from gan_jax.sampling.standing import STANDING, batch_statistics, require_statistics

OPTIONS = {
    "weights": WEIGHTS,
    "truncation": Option(
        0.0, "latents beyond this many standard deviations are drawn again; 0: none", low=0.0
    ),
    "standing": STANDING,
    **REJECTION,
}


class Players(NamedTuple):
    """The networks of a GAN, and the inputs of its generator.

    Attributes:
      generator, discriminator: the networks.
      classes: number of classes they are conditioned on; 0 for none.
      draw: see `make_draw`.
      given_shape: shape of the generator's first argument, without the batch axis.
      condition_on: (drawn, real images) -> the generator's arguments in training, for a generator
        that is also conditioned on real images (LAPGAN).
    """

    generator: nn.Module
    discriminator: nn.Module
    classes: int
    draw: Draw
    given_shape: tuple[int, ...]
    condition_on: Callable[[tuple, jax.Array], tuple] = lambda drawn, real: drawn


def make_gan(config: ConfigDict, spec: DataSpec, players: Players, codes: Codes) -> Task:
    """Build the task of a GAN from its networks.

    Args:
      config: the whole config, complete.
      spec: of the data.
      players: the networks.
      codes: InfoGAN's codes, appended to the latents.
    """
    generator, discriminator, classes, draw, given_shape, condition_on = players
    rules = build("task", config.task, RULES)
    game, updates = rules.game, rules.disc_updates
    growth = make_growth(config, spec.image_shape)
    augment = build("augment", config.augment, AUGMENTATIONS, game=game)
    semi = config.model.conditional.name == "semi_supervised"
    dropout = config.model.disc.get("dropout", 0.0) > 0
    # In steps, for top-k; a step uses one batch of real images per discriminator update.
    epoch = max(spec.counts.get("train", 0), 1) / (config.train.batch_size * updates)
    labels = (jax.ShapeDtypeStruct((1,), jnp.int32),) if classes else ()
    images = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    given = jax.ShapeDtypeStruct((1, *given_shape), jnp.float32)
    inputs = {"gen": (given, *labels), "disc": (images, *labels)}
    names = {role: config.model[role].name for role in inputs}
    check_generator(names["gen"], generator, inputs["gen"], spec.image_shape)
    discriminator = checked_discriminator(names["disc"], discriminator, inputs["disc"])
    check_terms(config, discriminator, inputs["disc"])
    freeze, clip = rules.freeze_disc, rules.weight_clipping
    if freeze and config.optim.disc.weight_decay:
        raise UserError(
            f"task.freeze_disc={freeze} with optim.disc.weight_decay, which would change the frozen"
            " weights: set one of them to 0"
        )
    nets = {
        "gen": make_net(generator, inputs["gen"], config.optim.gen, config.train),
        "disc": make_net(
            discriminator,
            inputs["disc"],
            config.optim.disc,
            config.train,
            updates=updates,
            average=semi,
            hold=functools.partial(frozen, stages=freeze) if freeze else None,
            project=functools.partial(clip_weights, limit=clip) if clip else None,
        ),
    }
    kinds, latents = {"disc": DISC_TERMS, "gen": GEN_TERMS}, config.model.latent
    terms: dict[str, Term] = {}
    for name, choice in kinds.items():
        terms |= make_terms(name, config.terms[name], choice, latent=latents, codes=codes)
    update = make_update(
        nets,
        terms,
        microbatches=config.train.microbatches,
        offers={"gen": GEN_SEEN, "disc": DISC_SEEN},
    )

    def init(key: Key) -> TrainState:
        keys = dict(zip(("gen", "disc"), jax.random.split(key), strict=True))
        start = {name: net.init(keys[name]) for name, net in nets.items()}
        return new_state(start, {**augment.init(), **update.buffers(start)})

    def split(key: Key, terms: bool, batch: int) -> tuple[Any, ...]:
        """Return keys for the latents, the terms and the augmentation, and dropout keys [batch].

        With latents as its only use, the key itself.
        """
        if not (terms or augment.draws or dropout):
            return key, None, None, None
        *keys, last = jax.random.split(key, 4)
        return *keys, example_keys(last, batch) if dropout else None

    def gen_inputs(key: Key, real: jax.Array, given: tuple) -> Any:
        """Return the generator's arguments for a batch of real images with labels `given`."""
        labels = given[0] if given and rules.fake_labels == "real" else None
        return condition_on(draw(example_keys(key, len(real)), labels), real)

    def disc_keywords(growing: dict[str, Any], masks: Any) -> dict[str, Any]:
        """Return the keyword arguments of a training pass of the discriminator."""
        return {**growing, "method": "outputs", **({"keys": masks} if dropout else {})}

    def extra_passes(
        nets: Nets, growing: dict, given: tuple, drawn: tuple, masks: Any
    ) -> dict[str, Any]:
        """Return further forward passes for terms, and the conditioning inputs."""
        passing = disc_keywords(growing, masks)
        return {
            "judge": lambda images: nets.disc.pure(images, *given, **passing),
            "judge_fake": lambda images: nets.disc.pure(images, *drawn[1:], **passing),
            "generate": lambda *drawn: nets.gen.pure(*drawn, **growing),
            "given": given,
            "drawn": drawn,
        }

    def update_disc(
        phase: Phase, state: TrainState, real: jax.Array, given: tuple, labelled: tuple, key: Key
    ) -> tuple[TrainState, Metrics]:
        growing = growth.arguments(phase.stage, state.step)
        terms = update.needs_key(("disc",), phase)
        key, terms_key, augment_key, masks = split(key, terms, len(real))

        def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
            real, given, drawn, keys, labelled, masks = inputs
            # The generator's statistics are updated once per step, in its own update.
            images = (real, nets.gen.pure(*drawn, **growing), *labelled[:1])
            real, fake, *few = augment(images, keys, state.buffers)
            passing = disc_keywords(growing, masks)
            real_out = nets.disc(real, *given, **passing)
            fake_out = nets.disc(fake, *drawn[1:], **passing)
            value, metrics = discriminator_loss(
                game, real_logits=real_out.logits, fake_logits=fake_out.logits
            )
            seen = extra_passes(nets, growing, given, drawn, masks)
            seen |= dict(real=real, fake=fake, real_out=real_out, fake_out=fake_out)
            return value, Aux(metrics, seen={**seen, "labelled": (*few, *labelled[1:])})

        drawn = gen_inputs(key, real, given)
        keys = augment.keys(augment_key, len(real), 2 + semi)
        inputs = (real, given, drawn, keys, labelled, masks)
        return update(state, ("disc",), loss, inputs, key=terms_key, phase=phase)[:2]

    def update_gen(
        phase: Phase, state: TrainState, real: jax.Array, given: tuple, key: Key
    ) -> tuple[TrainState, Metrics]:
        growing = growth.arguments(phase.stage, state.step)
        terms = update.needs_key(("gen",), phase)
        key, terms_key, augment_key, masks = split(key, terms, len(real))

        def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
            real, given, drawn, keys, masks = inputs
            real, fake = augment((real, nets.gen(*drawn, **growing)), keys, state.buffers)
            seen = extra_passes(nets, growing, given, drawn, masks)
            fake_out = seen["judge_fake"](fake)
            compared = {"real_logits": seen["judge"](real).logits} if game.relativistic else {}
            values = game.generator(fake_logits=fake_out.logits, **compared)
            if rules.top_k < 1:
                share = top_k_share(
                    step=state.step, epoch=epoch, decay=rules.top_k_decay, lowest=rules.top_k
                )
                values = values * top_k_weights(fake_logits=fake_out.logits, share=share)
            value = values.mean()
            seen |= dict(real=real, fake=fake, fake_out=fake_out)
            return rules.gen_weight * value, Aux({"gen": value}, seen=seen)

        drawn = gen_inputs(key, real, given)
        inputs = (real, given, drawn, augment.keys(augment_key, len(real)), masks)
        return update(state, ("gen",), loss, inputs, key=terms_key, phase=phase)[:2]

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
            state, metrics = update_disc(phase, state, real, given, labelled, keys[i])
        state, gen_metrics = update_gen(phase, state, real, given, keys[-1])
        if augment.adapt:
            kept, adapted = augment.adapt(
                state.buffers, metrics, state.step, config.train.batch_size
            )
            state = state.replace(buffers={**state.buffers, **kept})
            metrics = {**metrics, **adapted}
        return state, {**gen_metrics, **metrics}

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        given = (batch["label"],) if classes else ()
        drawn = condition_on(draw(keys, *(given or (None,))), batch["image"])
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
            outputs = discriminator.apply(average, batch["image"], train=False, method="outputs")
            values["accuracy"] = outputs.heads["class"].argmax(-1) == batch["label"]
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
        **update.networks,
        phase=lambda step: Phase("train", updates, update.due(step), growth.stage(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        latents=make_latents(draw, classes, spec.name),
        interpolate=make_interpolate(config.model.latent, classes),
        generate=generate,
        statistics=statistics,
        judge=judge,
        check_odds=make_check_odds(config, game),
        grids=grids,
        takes_labels=bool(classes),
        options=OPTIONS,
        group=growth.group,
    )


def make_check_odds(config: ConfigDict, game: Game) -> Callable[[str], None]:
    """Return a check that the discriminator's logits can be used for rejection sampling.

    The logits are log odds of real to generated ("raw") if the loss's optimal discriminator is.
    With the hinge loss or least squares, and after training on augmented images or smoothed
    targets, logits still increase with the odds and become log odds by calibration. So do those of
    LAPGAN's last level, which is trained on images whose smaller levels are real, while in sampling
    they are generated. A critic's logits only compare images: that of a single image means nothing.

    Args:
      config: the whole config.
      game: the adversarial loss of the training.

    Returns:
      (how: "raw" or "calibrated") -> None; raises UserError if the logits do not allow it.
    """
    loss = config.task.loss
    why = "" if game.odds else f"task.loss={loss}"
    if config.task.label_smoothing:
        why = f"task.label_smoothing={config.task.label_smoothing}"
    if config.augment.name != "none":
        why = f"augment.name={config.augment.name}"
    if config.model.gen.name == "lapgan":
        why = "model.gen=lapgan, whose last level is trained on real smaller levels,"

    def check(how: str) -> None:
        asked = f"--rejection={how}"
        if game.boundary is None:
            able = ", ".join(name for name, each in GAMES.items() if each.boundary is not None)
            raise UserError(
                f"{asked}: this GAN was trained with task.loss={loss}, whose logits compare images"
                " and are no function of the density ratio of real to generated: it needs a"
                f" discriminator of {able}"
            )
        if config.model.disc.get("minibatch_kernels") or config.model.gen.name in GROWING:
            raise UserError(
                f"{asked}: this discriminator's logits depend on the whole batch, so that none of"
                " them is a function of one image: leave the option out"
            )
        if how == RAW and why:
            raise UserError(
                f"{asked}: the logits of a discriminator trained with {why} are no log odds of real"
                f" to generated as they are: use --rejection={CALIBRATED}"
            )

    return check
