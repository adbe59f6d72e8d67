"""The layers of a discriminator by its normalisation, `model.disc.norm`.

"batch" is BatchNorm (DCGAN); "layer" is LayerNorm (arXiv:1704.00028, section 4); "spectral" divides
each weight by its spectral norm and has no normalisation layers (arXiv:1802.05957); "none" has
neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from gan_jax.models.blocks.layers import Conv, Dense, Embed
from gan_jax.models.blocks.norm import BatchNorm, LayerNorm
from gan_jax.models.blocks.spectral import SpectralConv, SpectralDense, SpectralEmbed

DISC_NORMS = ("batch", "layer", "spectral", "none")

Initializer = nn.initializers.Initializer


class DiscLayers(NamedTuple):
    """Constructors of a discriminator's layers.

    Attributes:
      conv, dense, embed: constructors with the arguments of Conv, Dense and Embed.
      norm: name of a layer -> a function of activations, the identity where there is no layer.
    """

    conv: Callable[..., nn.Module]
    dense: Callable[..., nn.Module]
    embed: Callable[..., nn.Module]
    norm: Callable[[str], Callable[[jax.Array], jax.Array]]


def disc_layers(
    norm: str, *, train: bool, scale_init: Initializer = nn.initializers.ones
) -> DiscLayers:
    """Return the layers of one pass of a discriminator; call it inside a compact module.

    Args:
      norm: one of DISC_NORMS.
      train: use batch statistics and update the running ones, or take a power iteration.
      scale_init: of BatchNorm's scales.
    """
    norms = {
        "batch": lambda name: functools.partial(
            BatchNorm(scale_init=scale_init, name=name), train=train
        ),
        "layer": lambda name: LayerNorm(name=name),
    }
    plain = norms.get(norm, lambda name: lambda x: x)
    if norm != "spectral":
        return DiscLayers(Conv, Dense, Embed, plain)
    spectral = (SpectralConv, SpectralDense, SpectralEmbed)
    return DiscLayers(*(functools.partial(layer, train=train) for layer in spectral), plain)
