"""Colourisation: predict the chroma of grey photographs.

In CIE Lab the network predicts a and b from the luma, and the lightness of the result is that of
the grey image. After Zhang et al. 2016 (arXiv:1603.08511), with `task.output`:

- "ab": a and b themselves, by the squared distance (equation 1), which averages colours where
  several are likely;
- "classes": a distribution over bins of the ab plane, by the cross entropy (equation 2); with
  `task.rebalance` rare colours count more (equation 4). The colour is the annealed mean of the bins
  (equation 5). Deviations: frequencies of the bins are counted as the training goes on (in the
  paper over ImageNet, beforehand); predictions are at full resolution (a quarter there).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.restoration.restorer import (
    Images,
    make_pairs,
    make_patches,
    make_restorer,
    make_restorer_update,
    make_restoring_net,
    restorer_sections,
    training_pairs,
)
from gan_jax.methods.update import Aux, Nets
from gan_jax.metrics.image_quality import chroma_distance
from gan_jax.objectives.colour_classes import (
    annealed_mean,
    bin_counts,
    bins,
    rebalanced_cross_entropy,
    rebalanced_weights,
)
from gan_jax.ops.colour import lab_to_rgb, rgb_to_lab
from gan_jax.parallel.axes import axis_mean

CHROMA = 110.0  # a and b of sRGB are within: of output "ab" the unit
SHARES = "colours"  # the buffer with the share of pixels in each bin, summed over updates


class Rules(NamedTuple):
    """How a colourising network is trained.

    Attributes:
      output: ab | classes.
      rebalance: of classes, whether rare colours count more.
      patch, flip, turn: as in `pixels.Rules`.
    """

    output: str = "ab"
    rebalance: bool = True
    patch: int = 0
    flip: bool = True
    turn: bool = True


RULES = Choice({"colorization": Rules})


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section."""
    return restorer_sections(RULES)


def coloured(grey: Images, ab: Images) -> Images:
    """Return RGB images [B, H, W, 3] of the lightness of grey ones.

    Args:
      grey: luma [B, H, W, 1] in [-1, 1].
      ab: a and b of CIE Lab [B, H, W, 2].
    """
    lightness = rgb_to_lab(jnp.broadcast_to(grey, (*grey.shape[:3], 3)))[..., :1]
    return lab_to_rgb(jnp.concatenate([lightness, ab], -1))


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a colourising network; see `configs/colorize.py` for its fields."""
    task = build("task", config.task, RULES)
    check_choice("task.output", task.output, ("ab", "classes"))
    classes = task.output == "classes"
    pairs = make_pairs(config, spec)
    if pairs.channels != 1 or pairs.shape[-1] != 3:
        raise UserError(
            f"task.name=colorization with degrade={config.degrade.name} and images of"
            f" {pairs.shape[-1]} channels: it makes RGB images of grey ones: set degrade=grey and"
            " data.channels=3"
        )
    patches = make_patches(task, pairs)
    outputs = len(bins()) if classes else 2
    net = make_restoring_net(config, pairs, outputs=outputs, bounded=not classes)
    update = make_restorer_update(config, net)

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        data_key, term_key = jax.random.split(key)
        grey, clean = training_pairs(pairs, patches, {k: x[0] for k, x in batch.items()}, data_key)
        ab = rgb_to_lab(clean)[..., 1:]
        shares = state.buffers.get(SHARES)

        def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
            outputs = nets.net(inputs[0])
            if not classes:
                error = jnp.square(outputs - inputs[1] / CHROMA).mean()
                return error, Aux({"chroma": error})
            weights = rebalanced_weights(shares) if task.rebalance else jnp.ones(len(bins()))
            given = dict(logits=outputs, ab=inputs[1], weights=weights)
            error = rebalanced_cross_entropy(**given).mean()
            return error, Aux({"cross_entropy": error})

        if classes:
            counts = bin_counts(ab)
            more = shares + axis_mean(counts / counts.sum())
            state = state.replace(buffers={**state.buffers, SHARES: more})
        given = dict(key=term_key, phase=phase)
        state, metrics, _ = update(state, ("net",), loss, (grey, ab), **given)
        return state, metrics

    def image(grey: Images, outputs: Images) -> Images:
        return coloured(grey, annealed_mean(outputs) if classes else CHROMA * outputs)

    def ab_error(inputs: Images, prediction: Images, target: Images) -> jax.Array:
        return chroma_distance(prediction=prediction, target=target)

    return make_restorer(
        *(config, spec, pairs, net, update, train_step),
        image=image,
        compared={"ab_error": ab_error},
        # All bins alike, for one update: weights are defined before the first step.
        buffers={SHARES: jnp.full(len(bins()), 1 / len(bins()))} if classes else None,
    )
