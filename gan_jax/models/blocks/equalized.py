"""Equalised learning rate: layers whose weights are scaled when they are used.

Karras et al. 2017 (arXiv:1710.10196, section 4.1). Weights start from N(0, 1) and are multiplied by
He's constant, gain / sqrt(fan in), at each pass, so that an optimizer that normalises by the size
of the gradient moves all of them at the same relative speed.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn

from gan_jax.models.blocks.layers import Conv, Dense


class _Equalized:
    """Mixin that equalises a Flax layer by overriding `self.param`, which returns its weight."""

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Return the parameter, multiplied by gain / sqrt(fan in) if it is the kernel."""
        value = super().param(name, *args, **kwargs)
        if name != "kernel":
            return value
        return value * (self.gain / math.sqrt(math.prod(value.shape[:-1])))


class EqualizedConv(_Equalized, Conv):
    """`layers.Conv`, equalised; `gain` is He's sqrt(2) before a rectifier, 1 before an output."""

    gain: float = 2**0.5
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(1.0)


class EqualizedDense(_Equalized, Dense):
    """`layers.Dense`, equalised; `gain` as in `EqualizedConv`."""

    gain: float = 2**0.5
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(1.0)
