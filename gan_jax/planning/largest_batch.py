"""Search for the largest batch that fits into a chip's memory, by compiling."""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.planning.cost import Cost
from gan_jax.planning.topology import Topology
from gan_jax.platform.chips import GIB

_LARGEST_A_CHIP = 2**12
_COMPILATIONS = 8


def largest_batch(
    compile_at: Callable[[int], Cost | None],
    topology: Topology,
    size: int,
    cost: Cost,
    *,
    unit: int,
) -> str:
    """Search for the largest batch that fits, assuming memory nearly linear in the batch size.

    When memory is short the compiler recomputes values instead of keeping them, so the largest
    batch that fits may be slow.

    Args:
      compile_at: batch size -> its cost, or None if it does not fit.
      topology: a machine whose chip is known.
      size: a batch size that fits.
      cost: its cost.
      unit: batch sizes to try are multiples of this; `size` need not be.

    Returns:
      A sentence that states the bounds found.
    """
    chips, memory = topology.chips, topology.chip.limit
    cap = _LARGEST_A_CHIP * unit
    fits, too_large, first = size, cap + unit, cost
    per_image = (cost.memory - cost.arguments) / size  # an overestimate, for a cautious first guess
    for _ in range(_COMPILATIONS):
        if too_large - fits <= max(unit, fits // 20) or fits >= cap:
            break
        limit = fits + (memory - cost.memory) / per_image
        if too_large <= cap:
            guess = (fits + too_large) / 2
        else:  # first below the expected limit, then above it
            guess = limit * (0.98 if fits < 0.96 * limit else 1.02)
        batch = min(max(int(guess) // unit, fits // unit + 1) * unit, too_large - unit)
        if (tried := compile_at(batch)) is None:
            too_large = batch
            continue
        per_image = max((tried.memory - first.memory) / (batch - size), 1.0)
        fits, cost = batch, tried
    share = f"{fits:,} ({fits // chips:,} a chip) takes {cost.memory / GIB:.2f} GiB and fits"
    if too_large > cap:
        return f"{share}; larger ones were not tried"
    return f"{share}, {too_large:,} does not"
