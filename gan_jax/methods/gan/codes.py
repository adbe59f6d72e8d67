"""InfoGAN's latent codes: the section `model.codes`."""

from __future__ import annotations

from typing import NamedTuple

from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError


class Codes(NamedTuple):
    """InfoGAN's codes (arXiv:1606.03657, section 7).

    Attributes:
      categorical: number of values of each categorical code.
      continuous: number of continuous codes, uniform in [-1, 1).
    """

    categorical: tuple[int, ...] = ()
    continuous: int = 0

    @property
    def size(self) -> int:
        """Dimensions that the codes add to the latents; categorical ones are one-hot."""
        return sum(self.categorical) + self.continuous


def infogan(*, categorical: tuple[int, ...] = (10,), continuous: int = 2) -> Codes:
    """Return InfoGAN's codes; fields as in `Codes`."""
    if continuous < 0 or any(size < 2 for size in categorical):
        raise UserError(
            f"model.codes: categorical={tuple(categorical)} of at least 2 values each,"
            f" continuous={continuous} of at least 0"
        )
    return Codes(tuple(categorical), continuous)


def no_codes() -> Codes:
    """Return no codes."""
    return Codes()


CODES = Choice({"none": no_codes, "infogan": infogan}, default="none")
