"""Turn strided convolutions into stride 1 by moving the phases of the stride to channels."""

from __future__ import annotations

from jax import Array

from gan_jax.ops.conv_plain import Geometry, Pair, fit


def to_channels(x: Array, strides: Pair) -> Array:
    """Move the stride x stride phases of axes 1 and 2 to channels, in front of the others."""
    (batch, height, width, channels), (sh, sw) = x.shape, strides
    x = x.reshape(batch, height // sh, sh, width // sw, sw, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // sh, width // sw, sh * sw * channels)


def from_channels(x: Array, strides: Pair) -> Array:
    """Undo `to_channels`."""
    (batch, height, width, channels), (sh, sw) = x.shape, strides
    x = x.reshape(batch, height, width, sh, sw, channels // (sh * sw)).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * sh, width * sw, channels // (sh * sw))


def kernel_to_channels(kernel: Array, strides: Pair) -> Array:
    """Return the stride-1 kernel for inputs of `to_channels`: [kh, kw, C, O] -> [t, t', ssC, O]."""
    (kh, kw, channels, features), (sh, sw) = kernel.shape, strides
    kernel = kernel.reshape(kh // sh, sh, kw // sw, sw, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(kh // sh, kw // sw, sh * sw * channels, features)


def kernel_from_channels(kernel: Array, strides: Pair) -> Array:
    """Undo `kernel_to_channels`."""
    (th, tw, channels, features), (sh, sw) = kernel.shape, strides
    kernel = kernel.reshape(th, tw, sh, sw, channels // (sh * sw), features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(th * sh, tw * sw, channels // (sh * sw), features)


def covered_input(geometry: Geometry, x: Array) -> Array:
    """Return the part of x that the windows cover, with the strides' phases as channels."""
    whole = zip(geometry.out, geometry.coarse_taps, geometry.strides, strict=True)
    x = fit(x, geometry.low, tuple((n + t - 1) * s for n, t, s in whole))
    return to_channels(x, geometry.strides)
