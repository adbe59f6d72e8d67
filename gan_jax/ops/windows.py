"""Convolution of images with few channels as one matrix product, for CPU.

The first layer of a discriminator and the last of a generator have images, with one or three
channels, on one side. XLA works channel by channel there, which leaves most of a SIMD vector empty.
Flattening a window gives an axis of up to 64 entries: [B, H', W', kh kw C] times [kh kw C, O].

If instead the output has few channels, as in a last convolution of stride 1, the mirrored
convolution has them as its input (`Geometry.mirrored`).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array

from gan_jax.ops import phases
from gan_jax.ops.conv_plain import Geometry, fit

MOST = 64  # entries of a window


def is_faster(geometry: Geometry | None, channels: int) -> bool:
    """Return whether this form is faster than XLA's, for an input with `channels` channels.

    The bound was measured (`benchmarks/conv_forms.py`). Kernels that the stride does not divide,
    such as 3x3 with stride 2, are left to XLA; so is None, the missing mirror of a convolution.
    """
    if geometry is None or geometry.out == (1, 1):
        return False
    taps = math.prod(geometry.kernel)
    return geometry.even_taps and taps > 1 and taps * channels <= MOST


def _windows(geometry: Geometry, x: Array) -> Array:
    """Return the windows of x, ordered as in `_matrix`: [B, H, W, C] -> [B, H', W', kh kw C]."""
    (height, width), (th, tw) = geometry.out, geometry.coarse_taps
    x = phases.covered_input(geometry, x)
    lines = jnp.concatenate([x[:, :, j : j + width] for j in range(tw)], axis=-1)
    return jnp.concatenate([lines[:, i : i + height] for i in range(th)], axis=-1)


def _matrix(geometry: Geometry, kernel: Array) -> Array:
    """Return [kh, kw, C, O] as [kh kw C, O]."""
    return phases.kernel_to_channels(kernel, geometry.strides).reshape(-1, kernel.shape[3])


def forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Compute x [B, H, W, C], kernel [kh, kw, C, O] -> [B, H', W', O]."""
    return _windows(geometry, x) @ _matrix(geometry, kernel)


def input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """Compute g [B, H', W', O], kernel -> [B, H, W, C] by summing the windows in their places."""
    (height, width), (th, tw) = geometry.out, geometry.coarse_taps
    parts = g @ _matrix(geometry, kernel).T
    parts = parts.reshape(*parts.shape[:3], th, tw, -1)
    grid = (height + th - 1, width + tw - 1)
    x = sum(fit(parts[:, :, :, i, j], (i, j), grid) for i in range(th) for j in range(tw))
    before = tuple(-low for low in geometry.low)
    return fit(phases.from_channels(x, geometry.strides), before, geometry.size)


def weight_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    """Compute x, g -> [kh, kw, C, O]."""
    seen = _windows(geometry, x)
    matrix = seen.reshape(-1, seen.shape[3]).T @ g.reshape(-1, g.shape[3])
    kernel = matrix.reshape(*geometry.coarse_taps, -1, g.shape[3])
    return phases.kernel_from_channels(kernel, geometry.strides)
