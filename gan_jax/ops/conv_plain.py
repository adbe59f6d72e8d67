"""The geometry of a convolution, and XLA's own form of each of its three products."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

LAYOUT = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """The static part of a convolution from `size` to `out` pixels; pairs are for H and W."""

    size: Pair
    kernel: Pair
    strides: Pair
    pads: Pads

    @property
    def out(self) -> Pair:
        spans = (n + sum(p) - k for n, k, p in zip(self.size, self.kernel, self.pads, strict=True))
        return tuple(span // s + 1 for span, s in zip(spans, self.strides, strict=True))

    @property
    def low(self) -> Pair:
        """Rows and columns of zeros before the image."""
        return tuple(low for low, _ in self.pads)

    @property
    def one_window(self) -> bool:
        """Whether there is a single window, so that the convolution is a dense layer.

        An example is the innermost layer of a U-Net, 4x4 on 2x2 pixels: XLA exchanges input and
        kernel there, and takes 70 ms for 1 ms of arithmetic.
        """
        return self.out == (1, 1)

    @property
    def one_tap(self) -> bool:
        """Whether the kernel is 1x1: the convolution is the same dense layer at every pixel."""
        return self.kernel == (1, 1)

    @property
    def coarse_taps(self) -> Pair:
        """Kernel size in units of the stride: k = stride * coarse + phase."""
        return tuple(-(-k // s) for k, s in zip(self.kernel, self.strides, strict=True))

    @property
    def even_taps(self) -> bool:
        """Whether all phases of the strides have equally many taps: strides divide the kernel."""
        return all(k % s == 0 for k, s in zip(self.kernel, self.strides, strict=True))

    @property
    def mirrored(self) -> Geometry | None:
        """The convolution from `out` to `size` pixels that computes this one's input gradient.

        Its kernel is `mirror(kernel)`. None if there is no such convolution: with a stride, or
        padding wider than the kernel.
        """
        if self.strides != (1, 1):
            return None
        pads = tuple(
            (k - 1 - low, k - 1 - high)
            for k, (low, high) in zip(self.kernel, self.pads, strict=True)
        )
        if min(min(pad) for pad in pads) < 0:
            return None
        return Geometry(self.out, self.kernel, self.strides, pads)


def mirror(kernel: Array) -> Array:
    """Rotate a kernel [kh, kw, C, O] by 180 degrees, and exchange C and O."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def fit(x: Array, low: Pair, size: Pair) -> Array:
    """Pad axes 1 and 2 by `low` in front and up to `size` behind; negative padding crops."""
    pads = [(lo, new - lo - old, 0) for lo, new, old in zip(low, size, x.shape[1:3], strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Compute x [B, H, W, C], kernel [kh, kw, C, O] -> [B, H', W', O]."""
    return lax.conv_general_dilated(
        x, kernel, geometry.strides, geometry.pads, dimension_numbers=LAYOUT
    )


def input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """Compute g [B, H', W', O], kernel -> [B, H, W, C]."""
    x = jax.ShapeDtypeStruct((g.shape[0], *geometry.size, kernel.shape[2]), g.dtype)
    return jax.linear_transpose(lambda x: forward(geometry, x, kernel), x)(g)[0]


def weight_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    """Compute x, g -> [kh, kw, C, O]."""
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], g.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: forward(geometry, x, kernel), kernel)(g)[0]
