"""How super-resolution networks enlarge: in steps of 2 or 3, around a skip by a filter."""

from __future__ import annotations

import jax

from gan_jax.core.errors import UserError, check_choice
from gan_jax.ops.resample import resample, upscaling_reach

SKIPS = ("none", "bilinear", "bicubic")
_STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}


def upscaling_steps(scale: int, allowed: tuple[int, ...] = tuple(_STEPS)) -> tuple[int, ...]:
    """Return the factors in which a network enlarges its input: 4 -> (2, 2), 1 -> ().

    Raises:
      UserError: for a scale that is not allowed.
    """
    if scale not in allowed:
        raise UserError(f"model.scale={scale}: must be one of {', '.join(map(str, allowed))}")
    return _STEPS[scale]


def steps_reach(steps: tuple[int, ...], after: int, *, before: int = 0, within: int = 0) -> int:
    """Return how many input pixels, beyond its own, the enlarged form of a pixel depends on.

    Args:
      steps: the factors, first step first.
      after: radius of the convolutions after the last step [px of the result].
      before: radius of the convolutions of each step in front of its enlargement.
      within: radius of those behind it.

    Returns:
      [px of the input].
    """
    reach = after
    for factor in reversed(steps):
        reach = -(-(reach + within) // factor) + before
    return reach


def add_skip(y: jax.Array, x: jax.Array, *, skip: str) -> jax.Array:
    """Add the input of a network, enlarged by a filter, to its output.

    Args:
      y: output [B, scale * H, scale * W, C].
      x: input [B, H, W, C].
      skip: "none" returns y; "bilinear" or "bicubic", see `ops.resample`.

    Raises:
      UserError: an unknown skip, or channels that differ.
    """
    check_choice("model.skip", skip, SKIPS)
    if skip == "none":
        return y
    if x.shape[-1] != y.shape[-1]:
        raise UserError(
            f"model.skip={skip}: an input of {x.shape[-1]} channels cannot be added to an output"
            f" of {y.shape[-1]}: set model.skip=none"
        )
    return y + resample(x, y.shape[1:3], skip).astype(y.dtype)


def skip_reach(skip: str, scale: int) -> int:
    """Return how many input pixels, beyond its own, the skip of a pixel depends on."""
    return 0 if skip == "none" else upscaling_reach(scale, skip, 0)
