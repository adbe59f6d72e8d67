"""1x1 convolution as one matrix product, for CPU.

Shortcuts of residual blocks, bottlenecks and attention consist of these. XLA's convolution is up to
five times slower: for the kernel gradient it also transposes the whole input, of which a strided
convolution needs only a part.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from gan_jax.ops.conv_plain import Geometry, fit


def _strided(geometry: Geometry, x: Array) -> Array:
    """Return every stride-th pixel of x: [B, H, W, C] -> [B, H', W', C]."""
    (sh, sw), spans = geometry.strides, zip(geometry.out, geometry.strides, strict=True)
    return fit(x, geometry.low, tuple((n - 1) * s + 1 for n, s in spans))[:, ::sh, ::sw]


def forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Compute x [B, H, W, C], kernel [1, 1, C, O] -> [B, H', W', O]."""
    return _strided(geometry, x) @ kernel[0, 0]


def input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """Compute g [B, H', W', O], kernel [1, 1, C, O] -> [B, H, W, C], zero between the strides."""
    pads = []
    lines = zip(geometry.size, geometry.out, geometry.strides, geometry.low, strict=True)
    for size, out, stride, low in lines:
        pads.append((-low, size + low - ((out - 1) * stride + 1), stride - 1))
    return lax.pad(g @ kernel[0, 0].T, jnp.zeros((), g.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def weight_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    """Compute x [B, H, W, C], g [B, H', W', O] -> [1, 1, C, O]."""
    x = _strided(geometry, x)
    return (x.reshape(-1, x.shape[3]).T @ g.reshape(-1, g.shape[3]))[None, None]
