"""Convolution, transposed convolution and pooling: plain XLA on accelerators, fast forms on CPU.

A convolution is one trilinear form T(x, k, g) = <conv(x, k), g>; what a network ever computes are its three partial
gradients: the output, the input gradient and the weight gradient. Here they are three functions with custom VJPs that
are written in terms of one another, so they close under differentiation of any order (a gradient penalty is the
second) and no derivative falls back to a slow form. A transposed convolution *is* the input gradient of the adjoint
convolution, so it needs nothing of its own.

XLA:CPU computes some of the three at a tenth of the machine's GEMM speed; which ones, and what replaces them, is said at
`_forward_on_cpu`, `_input_gradient_on_cpu` and `_weight_gradient_on_cpu`, and measured by `benchmarks/conv_forms.py`.
`lax.platform_dependent` chooses when the program is lowered: other platforms get XLA's own convolutions, and parameters
are the same everywhere.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jax.typing import DTypeLike

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Padding = str | int | Sequence[Sequence[int]]
Initializer = Callable[..., Array]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _Geometry(NamedTuple):
    """What is static in a convolution from `size` pixels to `out` pixels; hashable, one entry for each of H and W."""

    size: Pair
    kernel: Pair
    strides: Pair
    pads: Pads

    @property
    def out(self) -> Pair:
        spans = (n + sum(p) - k for n, k, p in zip(self.size, self.kernel, self.pads, strict=True))
        return tuple(span // s + 1 for span, s in zip(spans, self.strides, strict=True))

    @property
    def coarse_taps(self) -> Pair:
        """Kernel size in units of the stride: k = stride * coarse + phase."""
        return tuple(-(-k // s) for k, s in zip(self.kernel, self.strides, strict=True))


# --- the three mutually adjoint bilinear functions ---


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    """Convolve: x [B, H, W, C], kernel [kh, kw, C, O] -> [B, H', W', O]."""
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_forward_on_cpu, geometry),
        default=functools.partial(_plain_forward, geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Adjoint of `_forward` in x: g [B, H', W', O], kernel [kh, kw, C, O] -> [B, H, W, C]."""
    return lax.platform_dependent(
        g,
        kernel,
        cpu=functools.partial(_input_gradient_on_cpu, geometry),
        default=functools.partial(_plain_input_gradient, geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weight_gradient(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Adjoint of `_forward` in the kernel: x [B, H, W, C], g [B, H', W', O] -> [kh, kw, C, O]."""
    return lax.platform_dependent(
        x,
        g,
        cpu=functools.partial(_weight_gradient_on_cpu, geometry),
        default=functools.partial(_plain_weight_gradient, geometry),
    )


def _keep(function: Callable[..., Array]) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    return lambda geometry, a, b: (function(geometry, a, b), (a, b))


def _forward_vjp(geometry: _Geometry, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    return _input_gradient(geometry, g, kernel), _weight_gradient(geometry, x, g)


def _input_gradient_vjp(
    geometry: _Geometry, kept: tuple[Array, Array], x: Array
) -> tuple[Array, Array]:
    g, kernel = kept
    return _forward(geometry, x, kernel), _weight_gradient(geometry, x, g)


def _weight_gradient_vjp(
    geometry: _Geometry, kept: tuple[Array, Array], kernel: Array
) -> tuple[Array, Array]:
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
    """Pad (or crop, where negative) axes 1 and 2 by `low` in front, and behind so that they become `size`."""
    pads = [(lo, new - lo - old, 0) for lo, new, old in zip(low, size, x.shape[1:3], strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _views(
    x: Array, starts: tuple[Sequence[int], Sequence[int]], size: Pair, strides: Pair
) -> Array:
    """Concatenate strided views of x [B, H, W, C] that begin at `starts` (rows, columns), as channels (row, column, C)."""
    views = []
    for start in itertools.product(*starts):
        stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, size, strides, strict=True)]
        limits = (x.shape[0], *stop, x.shape[3])
        views.append(lax.slice(x, (0, *start, 0), limits, (1, *strides, 1)))
    return lax.concatenate(views, 3)


def _forward_on_cpu(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    return _plain_forward(geometry, x, kernel)


def _input_gradient_on_cpu(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    if geometry.strides == (1, 1):
        return _plain_input_gradient(geometry, g, kernel)
    return _input_gradient_by_phases(geometry, g, kernel)


def _input_gradient_by_phases(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Compute all stride x stride phases of the input gradient as channels of one stride-1 convolution."""
    (sh, sw), (th, tw) = geometry.strides, geometry.coarse_taps
    kh, kw, channels, features = kernel.shape
    kernel = jnp.pad(kernel, ((0, th * sh - kh), (0, tw * sw - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(th, sh, tw, sw, channels, features)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(th, tw, features, sh * sw * channels)
    pads = ((th - 1, th - 1), (tw - 1, tw - 1))
    phases = lax.conv_general_dilated(g, kernel, (1, 1), pads, dimension_numbers=_LAYOUT)
    batch, qh, qw, _ = phases.shape
    phases = phases.reshape(batch, qh, qw, sh, sw, channels).transpose(0, 1, 3, 2, 4, 5)
    low = tuple(-lo for lo, _ in geometry.pads)
    return _fit(phases.reshape(batch, qh * sh, qw * sw, channels), low, geometry.size)


def _weight_gradient_on_cpu(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Compute the weight gradient as one GEMM of shifted views.

    Its entry [a, b] sums x[s i + a, s j + b] g[i, j]. In each direction the shift may be put on x (k strided views of it),
    or on g: with a = s t + p it sums the phase p of x, at q, times g[q - t] (s views of x, k/s of g). Whatever the choice
    the arithmetic is the same, and copying the views is what takes the time, so the rule is: the fewest copied numbers.
    For a 3x3 kernel with as many inputs as outputs that is 3 + 3 copies instead of the usual 9.
    """

    def plan(sides: tuple[bool, bool]) -> tuple[int, Pair, Pair, Pair]:
        x_taps = tuple(
            s if side else k
            for side, k, s in zip(sides, geometry.kernel, geometry.strides, strict=True)
        )
        g_taps = tuple(
            t if side else 1 for side, t in zip(sides, geometry.coarse_taps, strict=True)
        )
        size = tuple(n + t - 1 for n, t in zip(geometry.out, g_taps, strict=True))
        copied = math.prod(size) * (math.prod(x_taps) * x.shape[3] + math.prod(g_taps) * g.shape[3])
        return copied, x_taps, g_taps, size

    _, x_taps, g_taps, size = min(map(plan, itertools.product((False, True), repeat=2)))
    low = tuple(lo for lo, _ in geometry.pads)
    span = tuple((n - 1) * s + t for n, s, t in zip(size, geometry.strides, x_taps, strict=True))
    x_views = _views(_fit(x, low, span), tuple(map(range, x_taps)), size, geometry.strides)
    low = tuple(t - 1 for t in g_taps)
    span = tuple(n + t - 1 for n, t in zip(size, g_taps, strict=True))
    g_views = _views(_fit(g, low, span), tuple(range(t - 1, -1, -1) for t in g_taps), size, (1, 1))
    product = lax.dot_general(x_views, g_views, (((0, 1, 2), (0, 1, 2)), ((), ())))
    product = product.reshape(*x_taps, x.shape[3], *g_taps, g.shape[3]).transpose(3, 0, 4, 1, 2, 5)
    taps = tuple(a * b for a, b in zip(x_taps, g_taps, strict=True))
    kh, kw = geometry.kernel
    return product.reshape(*taps, x.shape[3], g.shape[3])[:kh, :kw]


# --- functions ---


def _pair(value: int | Sequence[int], name: str) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise ValueError(f"{name}: expected a positive int or two of them, got {value!r}.")
    return pair


def _pads(padding: Padding, size: Pair, kernel: Pair, strides: Pair) -> Pads:
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(
                f"padding: expected 'SAME', 'VALID', an int or ((lo, hi), (lo, hi)), got {padding!r}."
            )
        return tuple(lax.padtype_to_pads(size, kernel, strides, padding))
    pads = tuple(tuple(p) for p in padding)
    if len(pads) != 2 or any(len(p) != 2 for p in pads):
        raise ValueError(
            f"padding: expected 'SAME', 'VALID', an int or ((lo, hi), (lo, hi)), got {padding!r}."
        )
    return pads


def _check(x: Array, kernel: Array) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"expected x [B, H, W, C] and kernel [kh, kw, C, O], got {x.shape} and {kernel.shape}."
        )


def conv2d(x: Array, kernel: Array, *, strides: int | Pair = (1, 1), padding: Padding) -> Array:
    """Convolve (cross-correlate, as all deep-learning code does).

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C, O].
        strides: steps in pixels, one or two.
        padding: 'SAME' (out = ceil(in / stride)), 'VALID', zeros on every side, or ((lo, hi), (lo, hi)) for H and W.

    Returns:
        [B, H', W', O] with H' = (H + lo + hi - kh) // stride + 1.
    """
    _check(x, kernel)
    strides, size, taps = _pair(strides, "strides"), x.shape[1:3], kernel.shape[:2]
    geometry = _Geometry(size, taps, strides, _pads(padding, size, taps, strides))
    if min(geometry.out) < 1:
        raise ValueError(
            f"a kernel of {taps} does not fit into {size} pixels with padding {geometry.pads}."
        )
    return _forward(geometry, x, kernel)


def conv2d_transpose(x: Array, kernel: Array, *, strides: int | Pair, padding: Padding) -> Array:
    """Apply the adjoint of `conv2d`, with PyTorch's sizes and orientation: out[s i + a - lo] += x[i] kernel[a].

    (`flax.linen.ConvTranspose` has the kernel mirrored unless `transpose_kernel=True`.)

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C, O].
        strides: up-sampling factors, one or two.
        padding: p or ((lo, hi), (lo, hi)): rows and columns that are cut from the full result; 'VALID' cuts none;
            'SAME' makes the size exactly H * stride.

    Returns:
        [B, H', W', O] with H' = (H - 1) * stride - lo - hi + kh.
    """
    _check(x, kernel)
    strides, taps = _pair(strides, "strides"), kernel.shape[:2]
    size = tuple(n * s for n, s in zip(x.shape[1:3], strides, strict=True))
    pads = _pads(padding, size, taps, strides)
    if padding != "SAME":
        size = tuple(
            (n - 1) * s - sum(p) + k
            for n, s, p, k in zip(x.shape[1:3], strides, pads, taps, strict=True)
        )
    if min(size) < 1:
        raise ValueError(f"nothing is left of {x.shape[1:3]} pixels after cutting {pads}.")
    return _input_gradient(_Geometry(size, taps, strides, pads), x, kernel.swapaxes(2, 3))


def max_pool(x: Array, window: int = 2) -> Array:
    """Take maxima over window x window blocks: [B, H, W, C] -> [B, H // window, W // window, C].

    Rows and columns that fill no block are left out, as 'VALID' does. Tied entries share the gradient.
    """
    return _blocks(x, window).max((2, 4))


def avg_pool(x: Array, window: int = 2) -> Array:
    """Average over window x window blocks: [B, H, W, C] -> [B, H // window, W // window, C]; crops as `max_pool`."""
    return _blocks(x, window).mean((2, 4))


def _blocks(x: Array, window: int) -> Array:
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    x = x[:, : rows * window, : columns * window]
    return x.reshape(batch, rows, window, columns, window, channels)


# --- modules ---


class Conv(nn.Module):
    """Convolution with `conv2d`'s arguments; parameters kernel [kh, kw, C, features] and bias [features].

    Attributes:
        dtype: of the computation; parameters stay float32. None takes the inputs' and parameters' common dtype.
    """

    features: int
    kernel_size: int | Pair = (3, 3)
    strides: int | Pair = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H', W', features]."""
        return _layer(self, conv2d, x)


class ConvTranspose(nn.Module):
    """Transposed convolution with `conv2d_transpose`'s arguments (PyTorch's sizes); otherwise as `Conv`."""

    features: int
    kernel_size: int | Pair = (3, 3)
    strides: int | Pair = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H', W', features]."""
        return _layer(self, conv2d_transpose, x)


def _layer(module: Conv | ConvTranspose, function: Callable[..., Array], x: Array) -> Array:
    shape = (*_pair(module.kernel_size, "kernel_size"), x.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, shape, jnp.float32)
    bias = (
        module.param("bias", module.bias_init, (module.features,), jnp.float32)
        if module.use_bias
        else None
    )
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=module.dtype)
    y = function(x, kernel, strides=module.strides, padding=module.padding)
    return y if bias is None else y + bias
