"""What a GAN's players lose by what the discriminator's head says of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import conditional_contrastive, data_to_data_cross_entropy


def class_term(config: ConfigDict, *, real: bool) -> Callable[[Any], jax.Array]:
    """Return the term of `model.conditional`, a function of what was seen; see `heads`.

    An auxiliary classifier learns on real and on generated images and the generator on its own
    (arXiv:1610.09585). Embeddings: the discriminator's term is of real images, the
    generator's of generated ones (arXiv:2006.12681, algorithm 1; arXiv:2111.01118, section 3.3).

    Args:
      config: the whole config.
      real: True for the discriminator's term, False for the generator's.
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

    def value(seen: Any) -> jax.Array:
        loss = kinds[config.model.conditional]
        if not real:
            return loss(seen.said_of_fake, seen.drawn[1])
        both = config.model.conditional == "classifier"
        on_fake = loss(seen.said_of_fake, seen.drawn[1]) if both else 0.0
        return loss(seen.said_of_real, seen.given[0]) + on_fake

    return value
