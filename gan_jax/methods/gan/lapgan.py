"""LAPGAN: a GAN for each level of a Laplacian pyramid (`model.gen=lapgan`).

Denton et al. 2015 (arXiv:1506.05751, algorithm 1). Each level is an ordinary GAN (`gan.make_gan`)
with its own networks, optimizers and terms. In training it is conditioned on real images of the
level below, and no gradient flows between levels. Sampling starts at the smallest level; each
further level is conditioned on the sample of the level before. The latents are one vector: those of
the smallest level, then the noise of each further level, one number per pixel.

Deviations: all levels are trained in the same step, on the same batches; a discriminator's update
has equally many real and generated images, where the paper draws at random which of the two each
is; noise is normal (paper: uniform); samples are clipped to [-1, 1].
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.choices import build
from gan_jax.core.errors import UserError
from gan_jax.core.metric_names import log_name
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.gan import gan
from gan_jax.methods.gan.assembly import class_count, make_head
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.latents import make_draw, make_interpolate, make_latents, sample_grid
from gan_jax.methods.gan.networks import DISCRIMINATORS, GENERATORS
from gan_jax.models import lapgan, mlp_gan


def check(config: ConfigDict) -> None:
    """Raise UserError for options that a pyramid of GANs does not support."""
    model, terms = config.model, config.terms
    if model.conditional.name == "semi_supervised" or model.codes.name != "none":
        raise UserError(
            "model.gen=lapgan has one GAN per level, each of which would predict classes or codes"
            " of its own: set model.conditional other than semi_supervised, and model.codes=none"
        )
    if config.task.fake_labels != "real":
        raise UserError(
            f"task.fake_labels={config.task.fake_labels} with model.gen=lapgan, whose generators"
            " are conditioned on a downsampled real image of that image's class: set"
            " task.fake_labels=real"
        )
    for player, name in (("disc", "latent_consistency"), ("gen", "latent_diversity")):
        if name in terms[player]:
            raise UserError(
                f"terms.{player}.{name} with model.gen=lapgan, whose generators take an image with"
                " the latents, and the term would perturb both: set its weight to 0"
            )


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a LAPGAN; see `configs/lapgan.py` for its fields."""
    check(config)
    height, width, channels = spec.image_shape
    model, classes = config.model, class_count(config, spec)
    sizes = lapgan.sizes(height, width, model.gen.coarsest)
    noise = [model.latent, *(h * w for h, w in sizes[1:])]
    ends, count = np.cumsum(noise)[:-1].tolist(), len(sizes)
    draw, _ = make_draw(sum(noise), Codes(), classes)
    levels = [
        make_level(with_latent(config, n), spec, (*size, channels), classes, coarse=i == 0)
        for i, (size, n) in enumerate(zip(sizes, noise, strict=True))
    ]

    def level_state(state: TrainState, i: int) -> TrainState:
        """Return the state of one level."""
        nets = {name: state.nets[f"{name}{i}"] for name in ("gen", "disc")}
        return state.replace(nets=nets, buffers=state.buffers.get(f"level{i}", {}))

    def joined_state(state: TrainState, parts: list[TrainState]) -> TrainState:
        nets = {
            f"{name}{i}": net for i, part in enumerate(parts) for name, net in part.nets.items()
        }
        buffers = {f"level{i}": part.buffers for i, part in enumerate(parts) if part.buffers}
        return state.replace(nets=nets, buffers=buffers)

    def init(key: Key) -> TrainState:
        keys = jax.random.split(key, count)
        return joined_state(new_state({}), [x.init(k) for x, k in zip(levels, keys, strict=True)])

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        keys, real = jax.random.split(key, count), lapgan.pyramid(batch["image"], count)
        parts, metrics = [], {}
        for i, level in enumerate(levels):
            part, found = level.train_step(
                phase, level_state(state, i), {**batch, "image": real[i]}, keys[i]
            )
            parts.append(part)
            metrics |= {log_name(f"level{i}", name): value for name, value in found.items()}
        return joined_state(state, parts), metrics

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys, real = jax.random.split(key, count), lapgan.pyramid(batch["image"], count)
        totals: Metrics = {}
        for i, level in enumerate(levels):
            found = level.eval_step(level_state(state, i), {**batch, "image": real[i]}, keys[i])
            totals |= {log_name(f"level{i}", k): v for k, v in found.items() if k != "count"}
            totals["count"] = found["count"]
        return totals

    def generate(state: TrainState, latents: Any, **options: Any) -> jax.Array:
        first, *rest = jnp.split(latents[0], ends, axis=1)
        images = levels[0].generate(level_state(state, 0), (first, *latents[1:]), **options)
        for i, part in enumerate(rest, start=1):
            given = lapgan.with_noise_plane(lapgan.enlarge(images), part)
            images = levels[i].generate(level_state(state, i), (given, *latents[1:]), **options)
        return jnp.clip(images, -1.0, 1.0)

    def judge(state: TrainState, images: jax.Array, labels: jax.Array | None) -> jax.Array:
        return levels[-1].judge(level_state(state, count - 1), images, labels)

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        make = functools.partial(generate, state, weights="ema")
        return {"samples": sample_grid(make, draw, classes, len(batch["image"]), key)}

    return Task(
        name="gan",
        modules={f"{k}{i}": v for i, x in enumerate(levels) for k, v in x.modules.items()},
        example_inputs={
            f"{k}{i}": v for i, x in enumerate(levels) for k, v in x.example_inputs.items()
        },
        phase=levels[0].phase,
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=levels[0].eval_metrics,
        latents=make_latents(draw, classes, spec.name),
        interpolate=make_interpolate(sum(noise), classes),
        generate=generate,
        judge=judge,
        check_odds=levels[-1].check_odds,
        grids=grids,
        takes_labels=bool(classes),
        options={k: v for k, v in gan.OPTIONS.items() if k != "standing"},  # no BatchNorm
    )


def with_latent(config: ConfigDict, latent: int) -> ConfigDict:
    """Return a copy of a config with this `model.latent`."""
    config = copy.deepcopy(config)
    config.model.latent = latent
    return config


def make_level(
    config: ConfigDict, spec: DataSpec, shape: tuple[int, int, int], classes: int, *, coarse: bool
) -> Task:
    """Return the GAN of one level.

    Args:
      config: the whole config, with the dimensions of the level's noise as `model.latent`.
      spec: of the data.
      shape: (height, width, channels) of the level's images.
      classes: number of classes the networks are conditioned on; 0 for none.
      coarse: whether this is the smallest level.
    """
    stream = dataclasses.replace(spec.streams["image"], shape=shape)
    spec = dataclasses.replace(spec, streams={**spec.streams, "image": stream})
    model, head = config.model, make_head(config, spec, Codes())
    draw, latent = make_draw(model.latent, Codes(), classes)
    networks = {
        "gen": build("model.gen", model.gen, GENERATORS, classes=classes),
        "disc": build(
            "model.disc",
            model.disc,
            DISCRIMINATORS,
            classes=classes,
            head=head,
            coarse=model.gen.coarse_width // 2 if coarse else 0,
        ),
    }
    if coarse:
        networks["gen"] = mlp_gan.Generator(shape, model.gen.coarse_width, classes)
    given_shape = (latent,) if coarse else (*shape[:2], shape[2] + 1)

    def condition_on(drawn: tuple, real: jax.Array) -> tuple:
        low = lapgan.enlarge(lapgan.shrink(real))
        return (lapgan.with_noise_plane(low, drawn[0]), *drawn[1:])

    given = {} if coarse else {"condition_on": condition_on}
    players = gan.Players(networks["gen"], networks["disc"], classes, draw, given_shape, **given)
    return gan.make_gan(config, spec, players, Codes())
