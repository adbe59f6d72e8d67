"""Blocks of the residual generator that double the size: `model.gen_block`.

"residual" is SNGAN's (see `resnet_gan.py`). "dense" is DenseNet's (Huang et al. 2017,
arXiv:1608.06993, section 3) reversed: a transition to half of the block's channels, then `LAYERS`
layers, each of which takes all preceding features of the block and appends k channels. The
transition is BN-ReLU-1x1 convolution; a layer is BN-ReLU-1x1 convolution to 4 k channels,
BN-ReLU-3x3 convolution to k (DenseNet-BC with a compression of 1/2).

Deviations: the transition is in front of the block and up-samples (paper: average pooling), after
its convolution, with which nearest up-sampling commutes; k is an eighth of the block's channels, so
that the block ends with the channels of the plan (paper: one k per network, 12 to 48); weights are
initialised as in residual branches; convolutions have biases.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models.blocks.disc_norm import Initializer
from gan_jax.models.blocks.gen_norm import Normalize
from gan_jax.models.blocks.layers import upsample

LAYERS = 4  # of a dense block
BOTTLENECK = 4  # channels between a layer's two convolutions, in units of k


def residual_block(
    x: jax.Array,
    features: int,
    name: str,
    *,
    norm: Normalize,
    conv: Callable[..., nn.Module],
    inits: tuple[Initializer, Initializer],
) -> jax.Array:
    """Map [B, H, W, C] to [B, 2 H, 2 W, features]; call it inside a compact method.

    Args:
      x: activations.
      features: channels of the block's output.
      name: prefix of the layers' names.
      norm: see `gen_norm.gen_norm`.
      conv: constructor of a convolution, with the arguments of `layers.Conv`.
      inits: initialisers of the branch's weights, and of the shortcut's.
    """
    branch, init = inits
    shortcut = conv(features, (1, 1), kernel_init=init, name=f"{name}_shortcut")(x)
    h = upsample(nn.relu(norm(x, f"{name}_norm_a")))
    h = conv(features, (3, 3), kernel_init=branch, name=f"{name}_conv_a")(h)
    h = nn.relu(norm(h, f"{name}_norm_b"))
    h = conv(features, (3, 3), kernel_init=branch, name=f"{name}_conv_b")(h)
    return h + upsample(shortcut)


def dense_block(
    x: jax.Array,
    features: int,
    name: str,
    *,
    norm: Normalize,
    conv: Callable[..., nn.Module],
    inits: tuple[Initializer, Initializer],
) -> jax.Array:
    """Map [B, H, W, C] to [B, 2 H, 2 W, features]; arguments as in `residual_block`.

    The output has features // 2 + LAYERS * (features // 8) channels, that is `features` if 8
    divides it; each of these numbers is at least 1.
    """
    start, growth = max(features // 2, 1), max(features // (2 * LAYERS), 1)

    def layer(x: jax.Array, features: int, size: int, part: str) -> jax.Array:
        h = nn.relu(norm(x, f"{name}_{part}_norm"))
        return conv(features, (size, size), kernel_init=inits[0], name=f"{name}_{part}_conv")(h)

    x = upsample(layer(x, start, 1, "transition"))
    for i in range(LAYERS):
        narrow = layer(x, BOTTLENECK * growth, 1, f"layer{i}_narrow")
        x = jnp.concatenate([x, layer(narrow, growth, 3, f"layer{i}")], -1)
    return x


BLOCKS = {"residual": residual_block, "dense": dense_block}
