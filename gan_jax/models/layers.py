"""Convolution, transposed convolution and pooling: plain XLA on accelerators, fast forms on CPU.

A convolution is one trilinear form T(x, k, g) = <conv(x, k), g>; what a network ever computes are
its three partial gradients: the output, the input gradient and the weight gradient. Here they are
three functions with custom VJPs that are written in terms of one another, so they close under
reverse-mode differentiation of any order (a gradient penalty is the second) and no derivative falls
back to a slow form. A transposed convolution *is* the input gradient of the adjoint convolution, so
it needs nothing of its own. Forward mode (`jax.jvp`) is not supported.

On CPU three things keep them near the speed of matrix products, all measured by
`benchmarks/conv_forms.py`: XLA is told which library to use (`host.convolve_by_eigen`, when this
module is imported); one window is a product of matrices; and two of the three products have forms
of ours, see `_input_gradient_on_cpu` and `_weight_gradient_on_cpu`. `lax.platform_dependent`
chooses when the program is lowered: other platforms get XLA's own convolutions, and parameters are
the same everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.typing import DTypeLike

from gan_jax.host import convolve_by_eigen

convolve_by_eigen()

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Operands = tuple[Array, Array]
Padding = str | int | Sequence[Sequence[int]]
Initializer = Callable[..., Array]
Form = Callable[["_Geometry", Array, Array], Array]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _Geometry(NamedTuple):
    """What is static in a convolution from `size` to `out` pixels; pairs are for H and W."""

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
        """Whether one window is all: the convolution is a dense layer.

        As the innermost of a U-Net, of 2 pixels by 4x4: XLA exchanges input and kernel there, and
        takes 70 ms for what is 1 ms of arithmetic.
        """
        return self.out == (1, 1)

    @property
    def coarse_taps(self) -> Pair:
        """Kernel size in units of the stride: k = stride * coarse + phase."""
        return tuple(-(-k // s) for k, s in zip(self.kernel, self.strides, strict=True))


# --- the three mutually adjoint bilinear functions ---


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    """Convolve: x [B, H, W, C], kernel [kh, kw, C, O] -> [B, H', W', O]."""
    return _by_platform(_forward_on_cpu, _plain_forward, geometry, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Adjoint of `_forward` in x: g [B, H', W', O], kernel [kh, kw, C, O] -> [B, H, W, C]."""
    return _by_platform(_input_gradient_on_cpu, _plain_input_gradient, geometry, g, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weight_gradient(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Adjoint of `_forward` in the kernel: x [B, H, W, C], g [B, H', W', O] -> [kh, kw, C, O]."""
    return _by_platform(_weight_gradient_on_cpu, _plain_weight_gradient, geometry, x, g)


def _by_platform(cpu: Form, default: Form, geometry: _Geometry, a: Array, b: Array) -> Array:
    cpu, default = (functools.partial(form, geometry) for form in (cpu, default))
    return lax.platform_dependent(a, b, cpu=cpu, default=default)


def _keep(function: Form) -> Callable[..., tuple[Array, Operands]]:
    return lambda geometry, a, b: (function(geometry, a, b), (a, b))


def _forward_vjp(geometry: _Geometry, kept: Operands, g: Array) -> Operands:
    x, kernel = kept
    return _input_gradient(geometry, g, kernel), _weight_gradient(geometry, x, g)


def _input_gradient_vjp(geometry: _Geometry, kept: Operands, x: Array) -> Operands:
    g, kernel = kept
    return _forward(geometry, x, kernel), _weight_gradient(geometry, x, g)


def _weight_gradient_vjp(geometry: _Geometry, kept: Operands, kernel: Array) -> Operands:
    x, g = kept
    return _input_gradient(geometry, g, kernel), _forward(geometry, x, kernel)


_forward.defvjp(_keep(_forward), _forward_vjp)
_input_gradient.defvjp(_keep(_input_gradient), _input_gradient_vjp)
_weight_gradient.defvjp(_keep(_weight_gradient), _weight_gradient_vjp)


# --- XLA's own convolutions ---


def _plain_forward(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel, geometry.strides, geometry.pads, dimension_numbers=_LAYOUT
    )


def _plain_input_gradient(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    x = jax.ShapeDtypeStruct((g.shape[0], *geometry.size, kernel.shape[2]), g.dtype)
    return jax.linear_transpose(lambda x: _plain_forward(geometry, x, kernel), x)(g)[0]


def _plain_weight_gradient(geometry: _Geometry, x: Array, g: Array) -> Array:
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], g.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain_forward(geometry, x, kernel), kernel)(g)[0]


# --- what runs on CPU ---


def _fit(x: Array, low: Pair, size: Pair) -> Array:
    """Pad (crop, where negative) axes 1 and 2 by `low` in front, and behind up to `size`."""
    pads = [(lo, new - lo - old, 0) for lo, new, old in zip(low, size, x.shape[1:3], strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _forward_on_cpu(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    """Multiply matrices where there is one window; XLA's own form otherwise."""
    if not geometry.one_window:
        return _plain_forward(geometry, x, kernel)
    window = _fit(x, geometry.low, geometry.kernel)
    return jnp.tensordot(window, kernel, 3)[:, None, None]


def _input_gradient_on_cpu(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Compute the stride x stride phases of the input gradient as channels of one convolution.

    That has stride 1, where XLA dilates g with zeros. The rule is: when every phase has the same
    number of taps, more than one (4x4 with stride 2, not 3x3 or 2x2). Otherwise the kernel would be
    padded with zeros, whose arithmetic costs more than is won, or there is nothing to win.
    """
    before = tuple(-low for low in geometry.low)
    if geometry.one_window:
        return _fit(jnp.tensordot(g[:, 0, 0], kernel, (1, 3)), before, geometry.size)
    (sh, sw), (th, tw) = geometry.strides, geometry.coarse_taps
    if (sh, sw) == (1, 1) or geometry.kernel != (sh * th, sw * tw) or th * tw == 1:
        return _plain_input_gradient(geometry, g, kernel)
    channels, features = kernel.shape[2:]
    kernel = kernel.reshape(th, sh, tw, sw, channels, features)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(th, tw, features, sh * sw * channels)
    pads = ((th - 1, th - 1), (tw - 1, tw - 1))
    phases = lax.conv_general_dilated(g, kernel, (1, 1), pads, dimension_numbers=_LAYOUT)
    batch, qh, qw, _ = phases.shape
    phases = phases.reshape(batch, qh, qw, sh, sw, channels).transpose(0, 1, 3, 2, 4, 5)
    return _fit(phases.reshape(batch, qh * sh, qw * sw, channels), before, geometry.size)


def _weight_gradient_on_cpu(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Keep the transposition of x from being merged with what computes x.

    XLA's form is a convolution of x, as [C, H, W, B], with g, as [H', W', B, O]. An activation is
    cheap to compute again (BatchNorm, ReLU, a residual sum), so XLA does that inside the loop that
    transposes, which then reads every term in large strides: three to five times as long as storing
    x and transposing that. A function that must not be inlined keeps the two apart.
    """
    if geometry.one_window:
        window = _fit(x, geometry.low, geometry.kernel)
        return jnp.tensordot(window, g[:, 0, 0], (0, 0))
    with set_xla_metadata(inlineable="false"):
        x = jax.jit(lambda x: x.transpose(3, 1, 2, 0))(x)
    pads = []
    sizes = (geometry.size, geometry.kernel, geometry.strides, geometry.pads, geometry.out)
    for n, k, s, (low, _), out in zip(*sizes, strict=True):
        span = (out - 1) * s + k  # of x that the windows cover
        pads.append((low, span - n - low))
    g = g.transpose(1, 2, 0, 3)
    kernel = lax.conv_general_dilated(
        x, g, (1, 1), pads, rhs_dilation=geometry.strides, dimension_numbers=_LAYOUT
    )
    return kernel.transpose(1, 2, 0, 3)


def _pair(value: int | Sequence[int], name: str) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise ValueError(f"{name}: expected a positive int or two of them, got {value!r}.")
    return pair


def _pads(padding: Padding, size: Pair, kernel: Pair, strides: Pair) -> Pads:
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    if padding in ("SAME", "VALID"):
        return tuple(lax.padtype_to_pads(size, kernel, strides, padding))
    pads = () if isinstance(padding, str) else tuple(padding)
    if not all(isinstance(p, Sequence) and len(p) == 2 for p in pads) or len(pads) != 2:
        expected = "'SAME', 'VALID', an int or ((lo, hi), (lo, hi))"
        raise ValueError(f"padding: expected {expected}, got {padding!r}.")
    return tuple(tuple(p) for p in pads)


def _check(x: Array, kernel: Array) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        expected = "x [B, H, W, C] and kernel [kh, kw, C, O]"
        raise ValueError(f"expected {expected}, got {x.shape} and {kernel.shape}.")


def conv2d(x: Array, kernel: Array, *, strides: int | Pair = (1, 1), padding: Padding) -> Array:
    """Convolve (cross-correlate, as all deep-learning code does).

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      strides: steps in pixels, one or two.
      padding: 'SAME' (H' = ceil(H / stride)), 'VALID', an int (zeros on every side), or
        ((lo, hi), (lo, hi)) for H and W.

    Returns:
      [B, H', W', O] with H' = (H + lo + hi - kh) // stride + 1.

    Raises:
      ValueError: for shapes and arguments that do not fit.
    """
    _check(x, kernel)
    strides, size, taps = _pair(strides, "strides"), x.shape[1:3], kernel.shape[:2]
    geometry = _Geometry(size, taps, strides, _pads(padding, size, taps, strides))
    if min(geometry.out) < 1:
        raise ValueError(f"kernel: {taps} does not fit into {size} pixels padded by {padding}.")
    return _forward(geometry, x, kernel)


def conv2d_transpose(x: Array, kernel: Array, *, strides: int | Pair, padding: Padding) -> Array:
    """Apply the adjoint of `conv2d`, with PyTorch's sizes: out[s i + a - lo] += x[i] kernel[a].

    That is PyTorch's orientation too; `flax.linen.ConvTranspose` mirrors the kernel unless
    `transpose_kernel=True`.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      strides: up-sampling factors, one or two.
      padding: an int or ((lo, hi), (lo, hi)), rows and columns that are cut from the full result;
        'VALID' cuts none, 'SAME' cuts to exactly H * stride.

    Returns:
      [B, H', W', O] with H' = (H - 1) * stride - lo - hi + kh.

    Raises:
      ValueError: for shapes and arguments that do not fit.
    """
    _check(x, kernel)
    strides, taps = _pair(strides, "strides"), kernel.shape[:2]
    size = tuple(n * s for n, s in zip(x.shape[1:3], strides, strict=True))
    pads = _pads(padding, size, taps, strides)
    if padding != "SAME":
        sizes = zip(x.shape[1:3], strides, pads, taps, strict=True)
        size = tuple((n - 1) * s - sum(p) + k for n, s, p, k in sizes)
    if min(size) < 1:
        raise ValueError(f"padding: cutting {pads} leaves {size} pixels.")
    return _input_gradient(_Geometry(size, taps, strides, pads), x, kernel.swapaxes(2, 3))


def max_pool(x: Array, window: int = 2) -> Array:
    """Take maxima over window x window blocks: [B, H, W, C] -> [B, H // window, W // window, C].

    Rows and columns that fill no block are left out ('VALID'); of tied entries the first gets the
    gradient. That of `jnp.max` asks which entries equal the maximum: none does where the compiler
    computes them twice and rounds differently, and it is 0 / 0. Selections are safe, and faster.
    """
    blocks = _blocks(x, window)
    views = [blocks[:, :, i, :, j] for i in range(window) for j in range(window)]
    return functools.reduce(lambda a, b: jnp.where(a >= b, a, b), views)


def avg_pool(x: Array, window: int = 2) -> Array:
    """Average over window x window blocks; sizes as `max_pool`."""
    return _blocks(x, window).mean((2, 4))


def _blocks(x: Array, window: int) -> Array:
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    if min(rows, columns) < 1:
        raise ValueError(f"a window of {window} pixels does not fit into {height} x {width}.")
    x = x[:, : rows * window, : columns * window]
    return x.reshape(batch, rows, window, columns, window, channels)


class Conv(nn.Module):
    """Convolution with `conv2d`'s arguments; parameters kernel [kh, kw, C, features] and bias.

    Attributes:
      features: channels of the output.
      dtype: of the computation; parameters stay float32. None takes the common dtype of inputs and
        parameters.
    """

    features: int
    kernel_size: int | Pair = (3, 3)
    strides: int | Pair = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None

    function: ClassVar[Callable[..., Array]] = staticmethod(conv2d)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H', W', features]."""
        shape = (*_pair(self.kernel_size, "kernel_size"), x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape[-1:], jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = self.function(x, kernel, strides=self.strides, padding=self.padding)
        return y if bias is None else y + bias


class ConvTranspose(Conv):
    """Transposed convolution with `conv2d_transpose`'s arguments; otherwise as `Conv`."""

    function: ClassVar[Callable[..., Array]] = staticmethod(conv2d_transpose)
