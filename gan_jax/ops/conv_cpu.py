"""The three products of a convolution as they run on CPU; see `convolution.py`."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from gan_jax.ops import conv_plain, phases, pixels, windows, winograd
from gan_jax.ops.conv_plain import LAYOUT, Geometry, Pair, fit, mirror
from gan_jax.ops.separately_compiled import separately_compiled


def _winograd_is_faster(
    geometry: Geometry, x: Array, channels: Pair, *, of_kernel: bool = False
) -> bool:
    """Return whether `winograd` is faster; x is an input or gradient, for its batch size."""
    (sh, sw), taps, batch = geometry.strides, geometry.coarse_taps, x.shape[0]
    # A program exported for batches of any size has a symbolic batch size.
    if not isinstance(batch, int) or not geometry.even_taps:
        return False
    channels = (sh * sw * channels[0], channels[1])
    return winograd.is_faster(taps, geometry.out, batch, channels, of_kernel=of_kernel)


def forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Compute the output, as matrix products where possible, or by XLA where nothing is faster."""
    if geometry.one_window:
        window = fit(x, geometry.low, geometry.kernel)
        return jnp.tensordot(window, kernel, 3)[:, None, None]
    if geometry.one_tap:
        return pixels.forward(geometry, x, kernel)
    if _winograd_is_faster(geometry, x, kernel.shape[2:]):
        kernel = phases.kernel_to_channels(kernel, geometry.strides)
        return winograd.correlate(phases.covered_input(geometry, x), kernel, size=geometry.out)
    if windows.is_faster(geometry, kernel.shape[2]):
        return windows.forward(geometry, x, kernel)
    if windows.is_faster(geometry.mirrored, kernel.shape[3]):
        return windows.input_gradient(geometry.mirrored, x, mirror(kernel))
    return conv_plain.forward(geometry, x, kernel)


def input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """Compute the stride x stride phases of the input gradient as channels of one convolution.

    This convolution has stride 1, where XLA would dilate g with zeros. It is used if every phase
    has the same number of taps, more than one (4x4 with stride 2, not 3x3 or 2x2). Otherwise the
    kernel would have to be padded with zeros, which costs more than it saves, or there is nothing
    to save.
    """
    before = tuple(-low for low in geometry.low)
    if geometry.one_window:
        return fit(jnp.tensordot(g[:, 0, 0], kernel, (1, 3)), before, geometry.size)
    if geometry.one_tap:
        return pixels.input_gradient(geometry, g, kernel)
    (sh, sw), (th, tw) = geometry.strides, geometry.coarse_taps
    if _winograd_is_faster(geometry, g, kernel.shape[2:]):
        return _winograd_input_gradient(geometry, g, kernel)
    if windows.is_faster(geometry, kernel.shape[2]):
        return windows.input_gradient(geometry, g, kernel)
    if windows.is_faster(geometry.mirrored, kernel.shape[3]):
        return windows.forward(geometry.mirrored, g, mirror(kernel))
    if (sh, sw) == (1, 1) or not geometry.even_taps or th * tw == 1:
        return conv_plain.input_gradient(geometry, g, kernel)
    channels, features = kernel.shape[2:]
    kernel = kernel.reshape(th, sh, tw, sw, channels, features)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(th, tw, features, sh * sw * channels)
    pads = ((th - 1, th - 1), (tw - 1, tw - 1))
    x = lax.conv_general_dilated(g, kernel, (1, 1), pads, dimension_numbers=LAYOUT)
    return fit(phases.from_channels(x, geometry.strides), before, geometry.size)


def _winograd_input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """Compute by `winograd` only those phases that contain pixels of the input."""
    lines = zip(geometry.low, geometry.size, geometry.strides, strict=True)
    starts, size = zip(
        *((low // s, -(-(low + n) // s) - low // s) for low, n, s in lines), strict=True
    )
    taps = geometry.coarse_taps
    before = tuple(t - 1 - start for t, start in zip(taps, starts, strict=True))
    g = fit(g, before, tuple(n + t - 1 for n, t in zip(size, taps, strict=True)))
    kernel = phases.kernel_to_channels(kernel, geometry.strides)
    x = winograd.correlate(g, kernel, size=size, transposed=True)
    first = zip(starts, geometry.low, geometry.strides, strict=True)
    x = phases.from_channels(x, geometry.strides)
    return fit(x, tuple(start * s - low for start, low, s in first), geometry.size)


def weight_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    """Compute the weight gradient without fusing the computation of x into its transposition.

    XLA's form is a convolution of x, as [C, H, W, B], with g, as [H', W', B, O]. It would recompute
    x inside the transposing loop, which then reads every operand in large strides: three to five
    times slower than storing x and transposing it.
    """
    if geometry.one_window:
        window = fit(x, geometry.low, geometry.kernel)
        return jnp.tensordot(window, g[:, 0, 0], (0, 0))
    if geometry.one_tap:
        return pixels.weight_gradient(geometry, x, g)
    if _winograd_is_faster(geometry, x, (x.shape[3], g.shape[3]), of_kernel=True):
        kernel = winograd.kernel_gradient(
            phases.covered_input(geometry, x), g, geometry.coarse_taps
        )
        return phases.kernel_from_channels(kernel, geometry.strides)
    if windows.is_faster(geometry, x.shape[3]):
        return windows.weight_gradient(geometry, x, g)
    if windows.is_faster(geometry.mirrored, g.shape[3]):
        return mirror(windows.weight_gradient(geometry.mirrored, g, x))
    x = separately_compiled(lambda x: x.transpose(3, 1, 2, 0), x)
    pads = []
    sizes = (geometry.size, geometry.kernel, geometry.strides, geometry.pads, geometry.out)
    for n, k, s, (low, _), out in zip(*sizes, strict=True):
        span = (out - 1) * s + k  # of x that the windows cover
        pads.append((low, span - n - low))
    g = g.transpose(1, 2, 0, 3)
    kernel = lax.conv_general_dilated(
        x, g, (1, 1), pads, rhs_dilation=geometry.strides, dimension_numbers=LAYOUT
    )
    return kernel.transpose(1, 2, 0, 3)
