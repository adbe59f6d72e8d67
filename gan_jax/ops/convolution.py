"""Convolution and transposed convolution: plain XLA on accelerators, fast forms on CPU.

A convolution is a trilinear form T(x, k, g) = <conv(x, k), g>. A network only ever computes its
three partial gradients: the output, the input gradient and the weight gradient. Here these are
three functions whose custom VJPs are written in terms of one another, so they are closed under
reverse-mode differentiation of any order (a gradient penalty needs the second) and no derivative
falls back to a slow form. A transposed convolution *is* the input gradient of the adjoint
convolution and needs no code of its own. Forward mode (`jax.jvp`) is not supported.

On CPU six measures make them as fast as matrix products or faster, all measured by
`benchmarks/conv_forms.py`: XLA is told which library to use (`host.convolve_by_eigen`, when this
module is imported); a single window, or windows of one pixel (`pixels.py`), are a matrix product;
2 or 3 taps per stride with many channels need fewer multiplications (`winograd.py`); windows of few
entries are one matrix product (`windows.py`); and in all other cases two of the three products have
forms of their own, see `conv_cpu.input_gradient` and `conv_cpu.weight_gradient`.
`lax.platform_dependent` chooses when the program is lowered: other platforms get XLA's own
convolutions, and parameters are the same everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
from jax import Array, lax

from gan_jax.ops import conv_cpu, conv_plain
from gan_jax.ops.conv_plain import Geometry, Pads, Pair
from gan_jax.platform.host import convolve_by_eigen

convolve_by_eigen()

Operands = tuple[Array, Array]
Padding = str | int | Sequence[Sequence[int]]
Form = Callable[[Geometry, Array, Array], Array]

# --- the three mutually adjoint bilinear functions ---


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Convolve: x [B, H, W, C], kernel [kh, kw, C, O] -> [B, H', W', O]."""
    return _by_platform(conv_cpu.forward, conv_plain.forward, geometry, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """Adjoint of `_forward` in x: g [B, H', W', O], kernel [kh, kw, C, O] -> [B, H, W, C]."""
    return _by_platform(conv_cpu.input_gradient, conv_plain.input_gradient, geometry, g, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weight_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    """Adjoint of `_forward` in the kernel: x [B, H, W, C], g [B, H', W', O] -> [kh, kw, C, O]."""
    return _by_platform(conv_cpu.weight_gradient, conv_plain.weight_gradient, geometry, x, g)


def _by_platform(cpu: Form, default: Form, geometry: Geometry, a: Array, b: Array) -> Array:
    cpu, default = (functools.partial(form, geometry) for form in (cpu, default))
    return lax.platform_dependent(a, b, cpu=cpu, default=default)


def _saving_operands(function: Form) -> Callable[..., tuple[Array, Operands]]:
    return lambda geometry, a, b: (function(geometry, a, b), (a, b))


def _forward_vjp(geometry: Geometry, kept: Operands, g: Array) -> Operands:
    x, kernel = kept
    return _input_gradient(geometry, g, kernel), _weight_gradient(geometry, x, g)


def _input_gradient_vjp(geometry: Geometry, kept: Operands, x: Array) -> Operands:
    g, kernel = kept
    return _forward(geometry, x, kernel), _weight_gradient(geometry, x, g)


def _weight_gradient_vjp(geometry: Geometry, kept: Operands, kernel: Array) -> Operands:
    x, g = kept
    return _input_gradient(geometry, g, kernel), _forward(geometry, x, kernel)


_forward.defvjp(_saving_operands(_forward), _forward_vjp)
_input_gradient.defvjp(_saving_operands(_input_gradient), _input_gradient_vjp)
_weight_gradient.defvjp(_saving_operands(_weight_gradient), _weight_gradient_vjp)


def pair(value: int | Sequence[int], name: str) -> Pair:
    """Return two positive ints, given one or two."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(n, int) and n > 0 for n in both):
        raise ValueError(f"{name}: expected a positive int or two of them, got {value!r}.")
    return both


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
    strides, size, taps = pair(strides, "strides"), x.shape[1:3], kernel.shape[:2]
    geometry = Geometry(size, taps, strides, _pads(padding, size, taps, strides))
    if min(geometry.out) < 1:
        raise ValueError(f"kernel: {taps} does not fit into {size} pixels padded by {padding}.")
    return _forward(geometry, x, kernel)


def conv2d_transpose(x: Array, kernel: Array, *, strides: int | Pair, padding: Padding) -> Array:
    """Apply the adjoint of `conv2d`, with PyTorch's sizes: out[s i + a - lo] += x[i] kernel[a].

    The kernel has PyTorch's orientation too; `flax.linen.ConvTranspose` mirrors it unless
    `transpose_kernel=True`.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      strides: up-sampling factors, one or two.
      padding: an int or ((lo, hi), (lo, hi)), rows and columns cropped from the full result;
        'VALID' cuts none, 'SAME' cuts to exactly H * stride.

    Returns:
      [B, H', W', O] with H' = (H - 1) * stride - lo - hi + kh.

    Raises:
      ValueError: for shapes and arguments that do not fit.
    """
    _check(x, kernel)
    strides, taps = pair(strides, "strides"), kernel.shape[:2]
    size = tuple(n * s for n, s in zip(x.shape[1:3], strides, strict=True))
    pads = _pads(padding, size, taps, strides)
    if padding != "SAME":
        sizes = zip(x.shape[1:3], strides, pads, taps, strict=True)
        size = tuple((n - 1) * s - sum(p) + k for n, s, p, k in sizes)
    if min(size) < 1:
        raise ValueError(f"padding: cutting {pads} leaves {size} pixels.")
    return _input_gradient(Geometry(size, taps, strides, pads), x, kernel.swapaxes(2, 3))
