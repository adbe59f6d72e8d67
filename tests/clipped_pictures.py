"""Pictures on which resizing filters overshoot, so that intermediate results are clipped."""

from __future__ import annotations

import numpy as np


def pictures(*shape: int) -> np.ndarray:
    """Return uint8 noise of a shape, with black and white patches."""
    rng = np.random.default_rng(list(shape))
    found = rng.integers(0, 256, shape)
    found[..., : shape[-2] // 3, :] = 255 * (found[..., : shape[-2] // 3, :] > 127)
    return found.astype(np.uint8)
