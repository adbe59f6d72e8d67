"""The convolution of most restoration networks."""

from __future__ import annotations

from flax import linen as nn

from gan_jax.models.blocks.inits import TORCH_INIT
from gan_jax.models.blocks.layers import Conv

# He's initial weights times 0.1, as in the code of ESRGAN (arXiv:1809.00219, section 3.1).
SMALL_INIT = nn.initializers.variance_scaling(2 * 0.1**2, "fan_in", "normal")


def conv(features: int, name: str, init: nn.initializers.Initializer = TORCH_INIT) -> Conv:
    """Return a 3x3 convolution; its initial weights are PyTorch's unless said."""
    return Conv(features, 3, kernel_init=init, name=name)
