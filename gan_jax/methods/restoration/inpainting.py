"""Inpainting: fill the pixels under a mask.

The network sees the image with these pixels set to 0, and the mask as one more channel. Its output
is used under the mask only; all other pixels are those of the input. The loss is L1 with a weight
inside of the mask, as in Liu et al. 2018 (arXiv:1804.07723, equation 1) without the perceptual
terms; their partial convolutions are not used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Task
from gan_jax.methods.restoration.restorer import (
    Images,
    make_pairs,
    make_patches,
    make_restorer,
    make_restorer_update,
    make_restoring_net,
    one_update,
    restorer_sections,
)
from gan_jax.methods.update import Aux, Nets
from gan_jax.metrics.image_quality import masked_psnr
from gan_jax.objectives.image import absolute


class Rules(NamedTuple):
    """How an inpainting network is trained.

    Attributes:
      hole_weight: weight of a pixel under the mask; that of all others is 1.
      patch, flip, turn: as in `pixels.Rules`.
    """

    hole_weight: float = 6.0
    patch: int = 0
    flip: bool = True
    turn: bool = True


RULES = Choice({"inpainting": Rules})


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section."""
    return restorer_sections(RULES)


def composite(inputs: Images, outputs: Images) -> Images:
    """Return the outputs under the mask and the known pixels elsewhere: [B, H, W, C].

    Args:
      inputs: [B, H, W, C + 1], the mask last: above 0 where pixels are to be filled.
      outputs: [B, H, W, C].
    """
    return jnp.where(inputs[..., -1:] > 0, outputs, inputs[..., :-1])


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build an inpainting network; see `configs/inpaint.py` for its fields."""
    task = build("task", config.task, RULES)
    if config.degrade.name != "mask":
        raise UserError(
            f"degrade={config.degrade.name} with task.name=inpainting: it fills what a mask hides:"
            " set degrade=mask"
        )
    pairs = make_pairs(config, spec)
    patches = make_patches(task, pairs)
    net = make_restoring_net(config, pairs)
    update = make_restorer_update(config, net)

    def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        masked, clean = inputs
        hidden = (masked[..., -1:] > 0).astype(jnp.float32)
        error = absolute(prediction=nets.net(masked), target=clean)
        hole, known = (hidden * error).mean(), ((1 - hidden) * error).mean()
        return task.hole_weight * hole + known, Aux({"hole": hole, "known": known})

    compared = {
        "psnr_hole": lambda inputs, prediction, target: masked_psnr(
            prediction=prediction, target=target, mask=inputs[..., -1:] > 0
        )
    }
    return make_restorer(
        *(config, spec, pairs, net, update, one_update(update, pairs, patches, loss)),
        image=composite,
        compared=compared,
        takes_mask=True,
    )
