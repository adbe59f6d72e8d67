"""Losses of what a discriminator's head says of classes."""

from __future__ import annotations

from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import conditional_contrastive, data_to_data_cross_entropy


def class_loss(config: ConfigDict) -> Callable[[Outputs, jax.Array], jax.Array]:
    """Return the loss of `model.conditional`: (Outputs, labels [B]) -> [B]; see `heads`.

    Args:
      config: the whole config.
    """
    terms = config.terms

    def classifier(said: Outputs, labels: jax.Array) -> jax.Array:
        return cross_entropy(logits=said.heads["class"], labels=labels)

    def contrastive(said: Outputs, labels: jax.Array) -> jax.Array:
        return conditional_contrastive(
            embeddings=said.heads["embedding"],
            proxies=said.heads["proxy"],
            labels=labels,
            temperature=terms.temperature,
        )

    def d2d_ce(said: Outputs, labels: jax.Array) -> jax.Array:
        return data_to_data_cross_entropy(
            embeddings=said.heads["embedding"],
            proxies=said.heads["proxy"],
            labels=labels,
            temperature=terms.temperature,
            positive_margin=terms.positive_margin,
            negative_margin=terms.negative_margin,
            shift_negatives=terms.shift_negatives,
        )

    kinds = {"classifier": classifier, "contrastive": contrastive, "d2d_ce": d2d_ce}

    return kinds.get(config.model.conditional, classifier)
