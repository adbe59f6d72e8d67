"""Terms on what the discriminator's head predicts about the class, by `model.conditional`.

See `terms` for the entries of `seen`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from gan_jax.methods.terms import Kind, plain
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import conditional_contrastive, data_to_data_cross_entropy

# Each belongs to the `model.conditional` of the same name.
CLASS_TERMS = ("classifier", "contrastive", "d2d_ce")
Loss = Callable[[Outputs, jax.Array], jax.Array]  # (outputs, labels [B]) -> [B]


def _classifier() -> Loss:
    """Return the cross entropy of an auxiliary classifier (arXiv:1610.09585)."""
    return lambda outputs, labels: cross_entropy(logits=outputs.heads["class"], labels=labels)


def _contrastive(temperature: float) -> Loss:
    """Return ContraGAN's loss, see `conditional_contrastive`."""
    return lambda outputs, labels: conditional_contrastive(
        embeddings=outputs.heads["embedding"],
        proxies=outputs.heads["proxy"],
        labels=labels,
        temperature=temperature,
    )


def _d2d_ce(
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


def _disc_term(loss: Loss, *, fake: bool = False) -> Kind:
    """Return a discriminator's term: the loss on real images, and with `fake` on generated ones."""

    def value(seen: Mapping[str, Any], keys: jax.Array) -> jax.Array:
        on_fake = loss(seen["fake_out"], seen["drawn"][1]) if fake else 0.0
        return loss(seen["real_out"], seen["given"][0]) + on_fake

    return plain(value, ("real_out", "fake_out", "given", "drawn"))


def _gen_term(loss: Loss) -> Kind:
    """Return a generator's term: the loss on generated images."""
    return plain(lambda seen, _: loss(seen["fake_out"], seen["drawn"][1]), ("fake_out", "drawn"))


def disc_classifier() -> Kind:
    """Return an auxiliary classifier's loss, on real and on generated images (arXiv:1610.09585)."""
    return _disc_term(_classifier(), fake=True)


def gen_classifier() -> Kind:
    """Return an auxiliary classifier's loss, on generated images."""
    return _gen_term(_classifier())


def disc_contrastive(*, temperature: float = 1.0) -> Kind:
    """Return ContraGAN's loss on real images (arXiv:2006.12681, algorithm 1)."""
    return _disc_term(_contrastive(temperature))


def gen_contrastive(*, temperature: float = 1.0) -> Kind:
    """Return ContraGAN's loss on generated images."""
    return _gen_term(_contrastive(temperature))


def disc_d2d_ce(
    *,
    temperature: float = 1.0,
    positive_margin: float = 0.98,
    negative_margin: float = 0.02,
    shift_negatives: bool = False,
) -> Kind:
    """Return ReACGAN's loss on real images (arXiv:2111.01118, section 3.3).

    Args:
      temperature: divides the cosine similarities.
      positive_margin, negative_margin: cosines beyond which the loss is flat.
      shift_negatives: True as in the authors' code, False as in the paper.
    """
    given = (temperature, positive_margin, negative_margin, shift_negatives)
    return _disc_term(_d2d_ce(*given))


def gen_d2d_ce(
    *,
    temperature: float = 1.0,
    positive_margin: float = 0.98,
    negative_margin: float = 0.02,
    shift_negatives: bool = False,
) -> Kind:
    """Return ReACGAN's loss on generated images; fields as in `disc_d2d_ce`."""
    given = (temperature, positive_margin, negative_margin, shift_negatives)
    return _gen_term(_d2d_ce(*given))
