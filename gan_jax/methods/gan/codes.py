"""What a GAN's generator is given beside its normal latents, and by which condition: `model`."""

from __future__ import annotations

from typing import NamedTuple

from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError


class Codes(NamedTuple):
    """InfoGAN's codes (arXiv:1606.03657, section 7).

    Attributes:
      categorical: number of values of each categorical code.
      continuous: how many are uniform in [-1, 1).
    """

    categorical: tuple[int, ...] = ()
    continuous: int = 0

    @property
    def size(self) -> int:
        """Dimensions that they add to the latents: categorical ones are one-hot."""
        return sum(self.categorical) + self.continuous


def infogan(*, categorical: tuple[int, ...] = (10,), continuous: int = 2) -> Codes:
    """Return InfoGAN's codes; fields as of `Codes`."""
    if continuous < 0 or any(size < 2 for size in categorical):
        raise UserError(
            f"model.codes: categorical={tuple(categorical)} of at least 2 values each,"
            f" continuous={continuous} of at least 0"
        )
    return Codes(tuple(categorical), continuous)


def no_codes() -> Codes:
    """Return none."""
    return Codes()


def latents(*, latent: int = 100) -> int:
    """Return how many normal latents the generator is given."""
    if latent < 1:
        raise UserError(f"model.latent={latent}: at least 1")
    return latent


def _unchanged() -> int:
    """Return 0: a condition without fields."""
    return 0


def embedded(*, embedding: int = 512) -> int:
    """Return the dimensions of the embeddings of images and classes."""
    if embedding < 1:
        raise UserError(f"model.conditional.embedding={embedding}: at least 1")
    return embedding


CODES = Choice({"none": no_codes, "infogan": infogan}, default="none")
LATENTS = Choice({"": latents})
# Whether a GAN is given the class, and what the discriminator does with it, see `blocks.heads`.
CONDITIONS = Choice(
    {
        "none": _unchanged,
        "concat": _unchanged,
        "classifier": _unchanged,
        "projection": _unchanged,
        "contrastive": embedded,
        "d2d_ce": embedded,
        "semi_supervised": _unchanged,
    },
    default="none",
)
