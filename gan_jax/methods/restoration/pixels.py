"""Restoration by a distance of pixels: super-resolution, noise, JPEG artefacts, blur.

SRCNN (arXiv:1501.00092), EDSR (arXiv:1707.02921) and DnCNN (arXiv:1608.03981) are this with
different networks (`model.net`), degradations (`degrade`) and distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import check_choice
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Task
from gan_jax.methods.restoration.restorer import (
    make_pairs,
    make_patches,
    make_restorer,
    make_restorer_update,
    make_restoring_net,
    one_update,
    restorer_sections,
)
from gan_jax.methods.update import Aux, Nets
from gan_jax.objectives.image import charbonnier, l1, l2

DISTANCES = {"l1": l1, "l2": l2, "charbonnier": charbonnier}


class Rules(NamedTuple):
    """How a restorer is trained.

    Attributes:
      distance: l1 | l2 | charbonnier.
      patch: side of a random patch of the clean image [px]; 0: whole images, or whole windows.
      flip: mirror patches left to right at random.
      turn: turn patches by multiples of 90 degrees at random.
    """

    distance: str = "l1"
    patch: int = 0
    flip: bool = True
    turn: bool = True


RULES = Choice({"restorer": Rules})


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section."""
    return restorer_sections(RULES)


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a restorer; see `configs/edsr.py` for its fields."""
    task = build("task", config.task, RULES)
    check_choice("task.distance", task.distance, DISTANCES)
    pairs = make_pairs(config, spec)
    patches = make_patches(task, pairs)
    net = make_restoring_net(config, pairs)
    update = make_restorer_update(config, net)

    def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        degraded, clean = inputs
        distance = DISTANCES[task.distance](prediction=nets.net(degraded), target=clean).mean()
        return distance, Aux({task.distance: distance})

    step = one_update(update, pairs, patches, loss)
    return make_restorer(config, spec, pairs, net, update, step)
