"""Colourisation: predict the chroma of grey photographs.

In CIE Lab the network predicts a and b from the luma, and the lightness of the result is that of
the grey image. The loss is the squared distance of a and b, the baseline of Zhang et al. 2016
(arXiv:1603.08511, equation 1), which where several colours are likely averages them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.restoration.restorer import (
    Images,
    Patches,
    check_patches,
    make_pairs,
    make_restorer,
    make_restoring_net,
    restorer_sections,
    restorer_terms,
    training_pairs,
)
from gan_jax.methods.update import Aux, Nets, make_update
from gan_jax.metrics.image_quality import chroma_distance
from gan_jax.ops.colour import lab_to_rgb, rgb_to_lab

CHROMA = 110.0  # a and b of sRGB are within: the network's outputs are in units of it


class Rules(NamedTuple):
    """How a colourising network is trained.

    Attributes:
      patch, flip, turn: as in `pixels.Rules`.
    """

    patch: int = 0
    flip: bool = True
    turn: bool = True


RULES = Choice({"colorization": Rules})


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section."""
    return restorer_sections(RULES)


def coloured(grey: Images, chroma: Images) -> Images:
    """Return RGB images [B, H, W, 3] from luma and chroma.

    Args:
      grey: luma [B, H, W, 1] in [-1, 1].
      chroma: a and b [B, H, W, 2], in units of CHROMA.
    """
    lightness = rgb_to_lab(jnp.broadcast_to(grey, (*grey.shape[:3], 3)))[..., :1]
    return lab_to_rgb(jnp.concatenate([lightness, CHROMA * chroma], -1))


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a colourising network; see `configs/colorize.py` for its fields."""
    task = build("task", config.task, RULES)
    pairs, patches = make_pairs(config, spec), Patches(task.patch, task.flip, task.turn)
    if pairs.channels != 1 or pairs.shape[-1] != 3:
        raise UserError(
            f"task.name=colorization with degrade={config.degrade.name} and images of"
            f" {pairs.shape[-1]} channels: it makes RGB images of grey ones: set degrade=grey and"
            " data.channels=3"
        )
    check_patches(patches, pairs)
    net = make_restoring_net(config, pairs, outputs=2)
    given = dict(microbatches=config.train.microbatches)
    update = make_update({"net": net}, restorer_terms(config), **given)

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        data_key, term_key = jax.random.split(key)
        inputs = training_pairs(pairs, patches, {k: x[0] for k, x in batch.items()}, data_key)
        state, metrics, _ = update(state, ("net",), loss, inputs, key=term_key, phase=phase)
        return state, metrics

    def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        grey, clean = inputs
        error = jnp.square(nets.net(grey) - rgb_to_lab(clean)[..., 1:] / CHROMA).mean()
        return error, Aux({"chroma": error})

    def ab_error(inputs: Images, prediction: Images, target: Images) -> jax.Array:
        return chroma_distance(prediction=prediction, target=target)

    return make_restorer(
        *(config, spec, pairs, net, update, train_step),
        image=coloured,
        compared={"ab_error": ab_error},
    )
