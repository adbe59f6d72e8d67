"""Progressive growing: which stage of growing networks a step trains, and how far it is blended in.

Karras et al. 2017 (arXiv:1710.10196, section 2): the smallest stage is trained on so many images;
then each further one is blended in during so many, and trained on as many again, until the last,
which is trained to the end. The stage is static, a part of the phase; the blend is computed from
the step. Networks that do not grow have no stage, and nothing here does anything for them.

Deviations: the optimizers and their moments go on at a change of stage (the authors' code starts
them anew), and the batch has one size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, build
from gan_jax.core.errors import UserError
from gan_jax.models import progan
from gan_jax.models.blocks.layers import avg_pool, double

GROWING = ("progan",)  # of `model.gen.name`


class Stages(NamedTuple):
    """How many generated images each stage takes; 0 where networks do not grow.

    Attributes:
      alone: that a stage is trained on.
      fading: during which a stage is blended in.
    """

    alone: int = 0
    fading: int = 0


def no_growth() -> Stages:
    """Return none."""
    return Stages()


def stages(*, stage_images: int = 800_000, fade_images: int = 800_000) -> Stages:
    """Return the stages; images are generator updates times the batch."""
    return Stages(stage_images, fade_images)


GROWTH = Choice({"none": no_growth, "stages": stages}, default="none")


class Growth(NamedTuple):
    """How networks grow.

    Attributes:
      stage: step (Python int) -> stage, 0 the smallest; None for networks that do not grow.
      arguments: (stage, step scalar) -> keyword arguments of both networks.
      resize: (images, stage, step scalar) -> images of the stage, as blended as generated ones are.
      at: (step scalar, function of a stage) -> its value at the stage of that step, computed.
      enlarge: images of a stage -> images of the last.
      group: as of `Task.group`; these networks compare images of a batch.
    """

    stage: Callable[[int], int | None]
    arguments: Callable[[int | None, jax.Array], dict[str, Any]]
    resize: Callable[[jax.Array, int | None, jax.Array], jax.Array]
    at: Callable[[jax.Array, Callable[[int | None], jax.Array]], jax.Array]
    enlarge: Callable[[jax.Array], jax.Array]
    group: int = 1


NONE = Growth(
    stage=lambda step: None,
    arguments=lambda stage, step: {},
    resize=lambda images, stage, step: images,
    at=lambda step, function: function(None),
    enlarge=lambda images: images,
)


def make_growth(config: ConfigDict, shape: tuple[int, int, int]) -> Growth:
    """Return how the networks of a config grow.

    Args:
      config: the whole config.
      shape: (height, width, channels) of the images.

    Raises:
      UserError: for numbers of images that make no sense, or networks that do not grow.
    """
    section, net = config.task.growth, config.model.gen.name
    if (section.name == "none") == (net in GROWING):
        raise UserError(
            f"task.growth={section.name} with model.gen.name={net}: stages belong to"
            f" {', '.join(GROWING)}, none to the others"
        )
    if section.name == "none":
        return NONE
    images = build("task.growth", section, GROWTH)
    batch, last = config.train.batch_size, progan.stages(*shape[:2]) - 1
    for name in ("stage_images", "fade_images"):
        if section[name] < batch:
            raise UserError(
                f"task.growth.{name}={section[name]}: at least a batch of {batch} images, as a"
                " stage takes one step or more"
            )
    alone, fading = images.alone // batch, images.fading // batch
    starts = [0] + [alone + i * (fading + alone) for i in range(last)]

    def stage(step: int) -> int:
        return sum(step >= start for start in starts) - 1

    def arguments(stage: int, step: jax.Array) -> dict[str, Any]:
        fade = jnp.clip((step - starts[stage]) / fading, 0.0, 1.0) if stage else jnp.ones(())
        return {"stage": stage, "fade": fade}

    def resize(images: jax.Array, stage: int, step: jax.Array) -> jax.Array:
        images = avg_pool(images, 1 << (last - stage))
        if not stage:
            return images
        fade = arguments(stage, step)["fade"].astype(images.dtype)
        return fade * images + (1 - fade) * double(avg_pool(images))

    def at(step: jax.Array, function: Callable[[int], jax.Array]) -> jax.Array:
        now = (step >= jnp.array(starts)).sum() - 1
        return jax.lax.switch(now, [lambda i=i: function(i) for i in range(last + 1)])

    def enlarge(images: jax.Array) -> jax.Array:
        while images.shape[1] < shape[0]:
            images = double(images)
        return images

    return Growth(stage, arguments, resize, at, enlarge, progan.GROUP)
