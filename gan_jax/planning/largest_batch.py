"""The largest batch that fits into a chip's memory, found by compiling."""

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
    """Search the largest batch that fits, by compiling: memory is nearly linear in the batch.

    Nearly: where it gets tight the compiler recomputes what it would have kept, so the last that
    fits may be slow.

    Args:
      compile_at: batch size -> its cost, None where it does not fit.
      topology: with a chip.
      size: a batch that fits, with its `cost`.
      unit: the batches that are tried are multiples of it; `size` need not be.

    Returns:
      A sentence with the bounds that were found.
    """
    chips, memory = topology.chips, topology.chip.limit
    cap = _LARGEST_A_CHIP * unit
    fits, too_large, first = size, cap + unit, cost
    per_image = (cost.memory - cost.arguments) / size  # too high: the first guess is careful
    for _ in range(_COMPILATIONS):
        if too_large - fits <= max(unit, fits // 20) or fits >= cap:
            break
        limit = fits + (memory - cost.memory) / per_image
        if too_large <= cap:
            guess = (fits + too_large) / 2
        else:  # below the expected limit, and once that is reached, above
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
