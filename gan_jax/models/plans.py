"""Channels and depth of residual GANs by image size.

The plans of `sngan` are those of Miyato et al. 2018 (arXiv:1802.05957, appendix B) and their code
(at 48 px, of compare_gan); those of `biggan` are from Brock et al. 2018 (arXiv:1809.11096, appendix
B) and the author's PyTorch code. Deviation: sizes in between take the plan of the next smaller
size.
"""

from __future__ import annotations

from typing import NamedTuple

from gan_jax.core.errors import UserError


class Plan(NamedTuple):
    """Channels of the networks for a size of images, in units of their `width`.

    Attributes:
      generator: channels of the dense layer, then of each block; every block doubles the size.
      discriminator: channels of each block.
      halvings: how many of the discriminator's blocks halve the size, counted from the first.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    halvings: int

    @property
    def divisor(self) -> int:
        """Number by which both sides of an image must be divisible."""
        return 1 << max(len(self.generator) - 1, self.halvings)


# family -> smallest shorter side -> plan; an image takes the last plan that is not above its side.
PLANS = {
    "sngan": {
        16: Plan((1, 1, 1), (1, 1, 1, 1), 2),  # for tiny images: that of 32 px without a doubling
        32: Plan((1, 1, 1, 1), (1, 1, 1, 1), 2),  # CIFAR-10
        48: Plan((8, 4, 2, 1), (1, 2, 4, 8, 16), 4),  # STL-10
        64: Plan((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
        128: Plan((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),  # ImageNet
    },
    "biggan": {
        16: Plan((4, 4, 4), (4, 4, 4, 4), 2),  # for tiny images: that of 32 px without a doubling
        32: Plan((4, 4, 4, 4), (4, 4, 4, 4), 2),
        64: Plan((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
        128: Plan((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
        256: Plan((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    },
}


def plan(height: int, width: int, family: str = "sngan") -> Plan:
    """Return the plan for images of this size.

    Args:
      height, width: of the images [px].
      family: a key of PLANS.

    Raises:
      UserError: too small, too large, or not divisible by what the plan halves.
    """
    plans, short = PLANS[family], min(height, width)
    limit = 2 * max(plans)
    found = [plans[side] for side in plans if side <= short < limit]
    if not found:
        raise UserError(
            f"{family}: images of {height}x{width} px, the shorter side must be from {min(plans)}"
            f" to {limit - 1} px: set another size, such as --config.data.size=32,32"
        )
    if height % found[-1].divisor or width % found[-1].divisor:
        raise UserError(
            f"{family}: images of {height}x{width} px, at this size both sides must divide by"
            f" {found[-1].divisor}: set another size, such as --config.data.size=32,32"
        )
    return found[-1]


def check_attention(size: int, height: int, width: int, family: str = "sngan") -> None:
    """Raise UserError unless both networks have feature maps of that size for attention.

    Args:
      size: shorter side of the features [px], that of a block's output; 0 for no attention.
      height, width: of the images [px].
      family: a key of PLANS.
    """
    shape, short = plan(height, width, family), min(height, width)
    made = {short >> i for i in range(len(shape.generator) - 1)}
    judged = {short >> i for i in range(1, shape.halvings + 1)}
    if size and size not in made & judged:
        fit = ", ".join(map(str, sorted(made & judged)))
        raise UserError(
            f"model.*.attention={size}: at this image size both networks have features of {fit} px:"
            " one of these, or 0 for no attention"
        )
