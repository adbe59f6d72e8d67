"""Paired image-to-image translation: a U-Net alone (L1), or against a PatchGAN (pix2pix).

The two differ in `task.adversarial_weight` only. With 0 there is no discriminator at all: the
plain CNN. Otherwise it is Isola et al. 2017 (arXiv:1611.07004, equation 4): L1 times 100 plus the
non-saturating GAN loss, the discriminator's loss halved to slow it down (their section 3.3),
dropout as the noise, in use too (`dropout=true`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import MUTABLE, TrainState, init_net, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.gan.discriminator import Sides, update_discriminator
from gan_jax.methods.update import apply_gradients
from gan_jax.metrics.image_quality import psnr, ssim
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.models.blocks.heads import Outputs
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet, unet_depth
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.image import l1
from gan_jax.parallel.axes import example_keys
from gan_jax.parallel.microbatches import mean_gradients
from gan_jax.parallel.precision import training_apply
from gan_jax.training.averages import ema_schedule, keeps_average
from gan_jax.training.optimizers import make_optimizer


def check_spec(config: ConfigDict, spec: DataSpec) -> None:
    """Raise UserError unless the data are pairs of images of a size that the networks take."""
    target = spec.streams.get("target")
    if target is None or target.kind != "image":
        raise UserError(
            f"task paired needs pairs, and {spec.name} has no target images: name their folder with"
            " --config.data.target_path=DIR, same file names"
        )
    unet_depth(*spec.image_shape[:2])
    least = 3 * 2**config.model.disc_layers
    if config.task.adversarial_weight and min(spec.image_shape[:2]) < least:
        raise UserError(
            f"model.disc_layers={config.model.disc_layers} needs images of at least {least} px, got"
            f" {spec.image_shape[0]}x{spec.image_shape[1]}: use fewer layers or a larger data.size"
        )


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a translator; see `configs/unet.py` and `configs/pix2pix.py` for its fields."""
    check_spec(config, spec)
    model, task, decay_at = config.model, config.task, ema_schedule(config.train)
    adversarial, game = task.adversarial_weight > 0, GAMES["non_saturating"]
    shape = spec.image_shape
    outputs = spec.streams["target"].shape[-1]
    generator = UNet(features=model.width, outputs=outputs, dropout_rate=model.dropout)
    discriminator = PatchGAN(features=model.disc_width, layers=model.disc_layers)
    apply_gen, apply_disc = (
        training_apply(net, precision=config.train.precision, remat=config.train.remat)
        for net in (generator, discriminator)
    )
    gen_optimizer = make_optimizer(**config.optim.gen, steps=config.train.steps)
    source = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    made = jax.ShapeDtypeStruct((1, *shape[:2], outputs), jnp.float32)
    inputs: dict[str, Any] = {"gen": (source,)}
    modules: dict[str, Any] = {"gen": generator}
    if adversarial:
        disc_optimizer = make_optimizer(**config.optim.disc, steps=config.train.steps)
        inputs["disc"], modules["disc"] = (source, made), discriminator

    def init(key: Key) -> TrainState:
        gen_key, disc_key = jax.random.split(key)
        nets = {
            "gen": init_net(
                generator,
                gen_key,
                inputs["gen"],
                gen_optimizer,
                ema=keeps_average(config.train),
                train=False,
                dropout=False,
            )
        }
        if adversarial:
            nets["disc"] = init_net(
                discriminator, disc_key, inputs["disc"], disc_optimizer, train=False
            )
        return new_state(nets)

    def augment(images: tuple[jax.Array, ...], key: Key) -> tuple[jax.Array, ...]:
        """Flip and shift both halves of a pair alike."""
        flip_key, jitter_key = jax.random.split(key)
        batch = len(images[0])
        if task.flip:
            images = random_flip(images, example_keys(flip_key, batch))
        if task.jitter:
            images = random_jitter(images, example_keys(jitter_key, batch), pad=task.jitter)
        return images

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = jax.random.split(key)
        source, real = augment((batch["image"][0], batch["target"][0]), augment_key)
        inputs = (source, real, example_keys(dropout_key, len(source)))
        gen = state.nets["gen"]

        def translate(variables: Any, source: jax.Array, keys: jax.Array) -> tuple[jax.Array, Any]:
            return apply_gen(
                variables, source, train=True, keys=keys, dropout=True, mutable=MUTABLE
            )

        def sides(inputs: Any) -> Sides:
            # The discriminator learns on the images that the generator is then judged by, as in
            # the paper. Both are the same pass, and XLA computes it once.
            source, real, keys = inputs

            def judge(variables: Any, image: jax.Array) -> tuple[Outputs, Any]:
                logits, moved = apply_disc(variables, source, image, train=True, mutable=MUTABLE)
                return Outputs(logits), moved

            return Sides(judge, judge, real, translate(gen.variables(), source, keys)[0])

        metrics: Metrics = {}
        if adversarial:
            disc, metrics = update_discriminator(
                state.nets["disc"],
                sides,
                inputs,
                game=game,
                optimizer=disc_optimizer,
                microbatches=config.train.microbatches,
                weight=0.5,
            )
            state = state.replace(nets={**state.nets, "disc": disc})

        def loss_of(params: Any, extra: Any, inputs: Any) -> Any:
            source, real, keys = inputs
            fake, moved = translate({"params": params, **extra}, source, keys)
            distance = l1(prediction=fake, target=real).mean()
            loss, metrics = distance, {"l1": distance}
            if adversarial:
                variables = state.nets["disc"].variables()
                logits, _ = apply_disc(variables, source, fake, train=True, mutable=MUTABLE)
                metrics["gen"] = game.generator(fake_logits=logits).mean()
                loss = task.l1_weight * distance + task.adversarial_weight * metrics["gen"]
            return loss, ({**extra, **moved}, metrics)

        gradients, extra, gen_metrics = mean_gradients(
            loss_of, gen.params, gen.extra, inputs, microbatches=config.train.microbatches
        )
        gen, norm = apply_gradients(
            gen,
            gradients,
            gen_optimizer,
            extra=extra,
            ema_decay=decay_at(state.step),
        )
        metrics = {**gen_metrics, **metrics, "grad_norm/gen": norm}
        return state.replace(nets={**state.nets, "gen": gen}), metrics

    def transform(
        state: TrainState, images: jax.Array, keys: jax.Array, **options: Any
    ) -> jax.Array:
        variables = state.nets["gen"].variables(options["weights"])
        return generator.apply(
            variables, images, train=False, keys=keys, dropout=options["dropout"]
        )

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        made = transform(state, batch["image"], keys, weights="ema", dropout=task.test_dropout)
        target = batch["target"]
        values = {
            "l1": l1(prediction=made, target=target),
            "psnr": psnr(prediction=made, target=target),
        }
        if min(shape[:2]) >= 11:  # the window of SSIM
            values["ssim"] = ssim(prediction=made, target=target)
        return masked_sums(values, batch["mask"])

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        keys = jax.random.split(key, len(batch["image"]))
        made = transform(state, batch["image"], keys, weights="ema", dropout=task.test_dropout)
        columns = [_to_channels(batch["image"], outputs), made, batch["target"]]
        return {"input_output_target": jnp.stack(columns, 1)}

    return Task(
        name="paired",
        modules=modules,
        example_inputs=inputs,
        phase=lambda step: Phase(),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        transform=transform,
        grids=grids,
        options={
            "weights": WEIGHTS,
            "dropout": Option(
                task.test_dropout, "drop out at use: the noise of pix2pix, results vary by seed"
            ),
        },
    )


def _to_channels(images: jax.Array, channels: int) -> jax.Array:
    """Show images [..., C] beside others of `channels`: grey repeated, colours averaged."""
    if images.shape[-1] == channels:
        return images
    grey = images[..., :3].mean(-1, keepdims=True)
    return jnp.repeat(grey, channels, -1)
