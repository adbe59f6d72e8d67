"""Self-attention between the pixels of an image, as used in GANs."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.blocks.layers import Conv, max_pool
from gan_jax.models.blocks.wide import affine

Initializer = nn.initializers.Initializer


class SelfAttention(nn.Module):
    """Add to each pixel what it attends to (Zhang et al. 2018, arXiv:1805.08318, section 3).

    y = x + gain * o, with a learnt gain initialised to 0, so that the layer starts as the identity.

    Deviations, as in the authors' code and BigGAN's: keys and values are max-pooled 2 x 2, which
    makes the attention map four times smaller; values have C/2 channels, not C/8; no biases.

    Attributes:
      conv: constructor of the four 1x1 convolutions, with the arguments of Conv.
      kernel_init: of their weights.
    """

    conv: Callable[..., nn.Module] = Conv
    kernel_init: Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, C] to the same shape; H and W at least 2."""
        batch, height, width, channels = x.shape

        def conv(x: jax.Array, features: int, name: str) -> jax.Array:
            layer = self.conv(
                max(features, 1), (1, 1), use_bias=False, kernel_init=self.kernel_init, name=name
            )
            return layer(x)

        def pixels(x: jax.Array) -> jax.Array:
            return x.reshape(batch, -1, x.shape[-1])

        query = pixels(conv(x, channels // 8, "query"))
        key = pixels(max_pool(conv(x, channels // 8, "key")))
        value = pixels(max_pool(conv(x, channels // 2, "value")))
        # The softmax over thousands of pixels is computed in float32 for any input precision.
        scores = jnp.einsum("bqc,bkc->bqk", query, key).astype(jnp.float32)
        mixed = jnp.einsum("bqk,bkc->bqc", nn.softmax(scores).astype(x.dtype), value)
        mixed = conv(mixed.reshape(batch, height, width, -1), channels, "out")
        gain = self.param("gain", nn.initializers.zeros, (), jnp.float32)
        return x + affine(mixed, scale=gain)
