"""Progressive growing: the stage that a step trains, and how far this stage is blended in.

Karras et al. 2017 (arXiv:1710.10196, section 2): the smallest stage is trained on `stage_images`
images; each further stage is blended in over `fade_images` and then trained on `stage_images`, the
last one until the end. The stage is static, a part of the phase; the blend is computed from the
step. Networks that do not grow have no stage, and these functions leave them as they are.

Deviations: the optimizers keep their moments at a change of stage (the authors' code resets them),
and the batch size is the same at all stages.
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
from gan_jax.models.blocks.layers import avg_pool, upsample

GROWING = ("progan",)  # values of `model.gen.name` whose networks grow


class Stages(NamedTuple):
    """Length of the stages, in generated images; 0 for networks that do not grow.

    Attributes:
      alone: images that a stage is trained on after it is blended in.
      fading: images over which a stage is blended in.
    """

    alone: int = 0
    fading: int = 0


def no_growth() -> Stages:
    """Return no stages."""
    return Stages()


def stages(*, stage_images: int = 800_000, fade_images: int = 800_000) -> Stages:
    """Return the lengths of the stages, in images: generator updates times the batch size."""
    return Stages(stage_images, fade_images)


GROWTH = Choice({"none": no_growth, "stages": stages}, default="none")


class Growth(NamedTuple):
    """How networks grow.

    Attributes:
      stage: step (Python int) -> stage, 0 the smallest; None for networks that do not grow.
      arguments: (stage, step scalar) -> keyword arguments of both networks.
      resize: (images, stage, step scalar) -> images at the stage's size, blended with the stage
        before as generated images are.
      at: (step scalar, function of a stage) -> its value at that step's stage, for a traced step.
      enlarge: images of a stage -> images at the size of the last stage.
      group: as in `Task.group`; growing discriminators compare the images of a group.
    """

    stage: Callable[[int], int | None]
    arguments: Callable[[int | None, jax.Array], dict[str, Any]]
    resize: Callable[[jax.Array, int | None, jax.Array], jax.Array]
    at: Callable[[jax.Array, Callable[[int | None], jax.Array]], jax.Array]
    enlarge: Callable[[jax.Array], jax.Array]
    group: int = 1


NO_GROWTH = Growth(
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
      UserError: for stages shorter than a batch, or stages of networks that do not grow.
    """
    section, net = config.task.growth, config.model.gen.name
    if (section.name == "none") == (net in GROWING):
        raise UserError(
            f"task.growth={section.name} with model.gen.name={net}: stages belong to"
            f" {', '.join(GROWING)}, none to the others"
        )
    if section.name == "none":
        return NO_GROWTH
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
        return fade * images + (1 - fade) * upsample(avg_pool(images))

    def at(step: jax.Array, function: Callable[[int], jax.Array]) -> jax.Array:
        now = (step >= jnp.array(starts)).sum() - 1
        return jax.lax.switch(now, [lambda i=i: function(i) for i in range(last + 1)])

    def enlarge(images: jax.Array) -> jax.Array:
        while images.shape[1] < shape[0]:
            images = upsample(images)
        return images

    return Growth(stage, arguments, resize, at, enlarge, progan.GROUP)
