"""Losses of what a discriminator's head says of classes, by `model.conditional`."""

from __future__ import annotations

from collections.abc import Callable

import jax

from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import conditional_contrastive, data_to_data_cross_entropy

Loss = Callable[[Outputs, jax.Array], jax.Array]  # (outputs, labels [B]) -> [B]


def classifier() -> Loss:
    """Return the cross entropy of an auxiliary classifier (arXiv:1610.09585)."""
    return lambda outputs, labels: cross_entropy(logits=outputs.heads["class"], labels=labels)


def contrastive(temperature: float) -> Loss:
    """Return ContraGAN's loss, see `conditional_contrastive`."""
    return lambda outputs, labels: conditional_contrastive(
        embeddings=outputs.heads["embedding"],
        proxies=outputs.heads["proxy"],
        labels=labels,
        temperature=temperature,
    )


def d2d_ce(
    temperature: float, positive_margin: float, negative_margin: float, shift_negatives: bool
) -> Loss:
    """Return ReACGAN's loss, see `data_to_data_cross_entropy`."""
    return lambda outputs, labels: data_to_data_cross_entropy(
        embeddings=outputs.heads["embedding"],
        proxies=outputs.heads["proxy"],
        labels=labels,
        temperature=temperature,
        positive_margin=positive_margin,
        negative_margin=negative_margin,
        shift_negatives=shift_negatives,
    )
