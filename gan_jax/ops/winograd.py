"""Convolution with fewer multiplications: Winograd's minimal filtering, for CPU.

m outputs of a filter of r taps need n = m + r - 1 multiplications, not m r (Winograd 1980; for
convolutional networks Lavin & Gray 2015, arXiv:1509.09308, equations 4 to 13). In two dimensions,
with the products summed over channels, a tile is

    Y = A_h' [ sum over c of (G_h k G_w') * (B_h' d B_w) ] A_w,

whose bracket is n_h n_w products of matrices [tiles, C] by [C, O]: for 3x3 taps and 2x2 outputs 16
in place of 36, for 2x2 taps 9 in place of 16. All entries of B and A are 0 and ±1, those of G
0, ±1 and ±1/2, so that rounding errors in float32 stay near those of the direct form (relative
errors of 2e-7 to 6e-7 against 2e-7 to 3e-7), unlike with larger tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gan_jax.ops.conv_plain import Pair, fit
from gan_jax.ops.separately_compiled import separately_compiled

Matrix = tuple[tuple[float, ...], ...]


class _Filter(NamedTuple):
    """One dimension of the algorithm: a tile of `outputs` outputs of a filter of `taps` taps.

    Attributes:
      inputs: B', [n, n], transforms a tile of the input.
      kernel: G, [n, taps], transforms the kernel.
      result: A', [outputs, n], transforms the products to outputs.
    """

    outputs: int
    taps: int
    inputs: Matrix
    kernel: Matrix
    result: Matrix

    def tiles(self, outputs: int) -> int:
        """Return the number of tiles that cover `outputs` outputs."""
        return -(-outputs // self.outputs)


_FOUR = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))  # points 0, 1, -1, infinity
_FILTERS = (
    _Filter(
        2,
        2,
        ((1, -1, 0), (0, 1, 0), (0, -1, 1)),  # points 0, 1, infinity
        ((1, 0), (1, 1), (0, 1)),
        ((1, 1, 0), (0, 1, 1)),
    ),
    _Filter(
        3,
        2,
        _FOUR,
        ((1, 0), (0.5, 0.5), (0.5, -0.5), (0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, 0), (0, 1, 1, 1)),
    ),
    _Filter(
        2,
        3,
        _FOUR,
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, 1)),
    ),
)


def is_faster(
    taps: Pair, size: Pair, batch: int, channels: Pair, *, of_kernel: bool = False
) -> bool:
    """Return whether this form is faster than a direct convolution of stride 1.

    Transforming inputs, kernel and outputs pays off only if there are many tiles, input channels
    and output channels, as each transform is shared along one of these. The bounds were measured
    (`benchmarks/conv_forms.py`).

    Args:
      taps: of the kernel.
      size: of the output [px].
      batch: images.
      channels: of input and output.
      of_kernel: whether the question is about `kernel_gradient`.
    """
    if not all(t in (2, 3) for t in taps):
        return False
    tiles = batch
    for n, t in zip(size, taps, strict=True):
        tiles *= _filter(n, t).tiles(n)
    return sum(1 / n for n in (tiles, *channels)) <= (1 / 40 if of_kernel else 1 / 30)


def correlate(x: Array, kernel: Array, *, size: Pair, transposed: bool = False) -> Array:
    """Correlate with stride 1.

    Args:
      x: [B, H, W, C], zero beyond H and W.
      kernel: [r, r', C, O] with 2 or 3 taps; if transposed, [r, r', O, C].
      size: rows and columns of the output.
      transposed: also rotate the kernel by 180 degrees, as the input gradient needs it.

    Returns:
      [B, *size, O].
    """
    return separately_compiled(_correlate, x, kernel, size=size, transposed=transposed)


def _correlate(x: Array, kernel: Array, *, size: Pair, transposed: bool) -> Array:
    rows, columns = (_filter(n, t) for n, t in zip(size, kernel.shape[:2], strict=True))
    grid = [[kernel[i, j] for j in range(columns.taps)] for i in range(rows.taps)]
    if transposed:
        grid = [row[::-1] for row in grid[::-1]]
    kernels = _transform(rows.kernel, columns.kernel, grid)
    inputs = _input_tiles(rows, columns, x, size)
    contracted = ((3,), (int(transposed),))
    products = [
        [jnp.tensordot(d, k, contracted) for d, k in zip(*pair, strict=True)]
        for pair in zip(inputs, kernels, strict=True)
    ]
    tiles = _transform(rows.result, columns.result, products)
    y = jnp.stack([jnp.stack(row, 3) for row in tiles], 2)  # [B, tiles, m, tiles', m', O]
    batch, th, mh, tw, mw, features = y.shape
    return y.reshape(batch, th * mh, tw * mw, features)[:, : size[0], : size[1]]


def kernel_gradient(x: Array, g: Array, taps: Pair) -> Array:
    """Return the gradient of `correlate` with respect to the kernel.

    Args:
      x: [B, H, W, C], the input of `correlate`.
      g: [B, *size, O], the gradient of its result.
      taps: of the kernel.

    Returns:
      [*taps, C, O].
    """
    return separately_compiled(_kernel_gradient, x, g, taps=taps)


def _kernel_gradient(x: Array, g: Array, *, taps: Pair) -> Array:
    size = g.shape[1:3]
    rows, columns = (_filter(n, t) for n, t in zip(size, taps, strict=True))
    inputs = _input_tiles(rows, columns, x, size)
    whole = (rows.tiles(size[0]) * rows.outputs, columns.tiles(size[1]) * columns.outputs)
    g = fit(g, (0, 0), whole)
    parts = [
        [g[:, i :: rows.outputs, j :: columns.outputs] for j in range(columns.outputs)]
        for i in range(rows.outputs)
    ]
    results = _transform(_transpose(rows.result), _transpose(columns.result), parts)
    products = [
        [_matrix(d).T @ _matrix(r) for d, r in zip(*pair, strict=True)]
        for pair in zip(inputs, results, strict=True)
    ]
    kernel = _transform(_transpose(rows.kernel), _transpose(columns.kernel), products)
    return jnp.stack([jnp.stack(row) for row in kernel])


def _matrix(x: Array) -> Array:
    """Return [B, t, t', C] as [B t t', C]; XLA:CPU is slow at sums over several axes."""
    return x.reshape(-1, x.shape[-1])


def _filter(outputs: int, taps: int) -> _Filter:
    """Return the filter that covers `outputs` outputs with the fewest multiplications."""
    fitting = [f for f in _FILTERS if f.taps == taps]
    return min(fitting, key=lambda f: f.tiles(outputs) * len(f.inputs))


def _input_tiles(rows: _Filter, columns: _Filter, x: Array, size: Pair) -> list[list[Array]]:
    """Cut the input into overlapping tiles and transform them: n x n' arrays [B, t, t', C]."""
    # From the start of the first tile to that of the last.
    th, tw = ((f.tiles(n) - 1) * f.outputs + 1 for n, f in zip(size, (rows, columns), strict=True))
    nh, nw = len(rows.inputs), len(columns.inputs)
    x = fit(x, (0, 0), (th + nh - 1, tw + nw - 1))
    parts = [
        [x[:, i : i + th : rows.outputs, j : j + tw : columns.outputs] for j in range(nw)]
        for i in range(nh)
    ]
    return _transform(rows.inputs, columns.inputs, parts)


def _transpose(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _transform(left: Matrix, right: Matrix, grid: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Multiply a matrix of arrays from both sides: left @ grid @ right'."""
    lines = [_combine(left, column) for column in zip(*grid, strict=True)]  # columns of left grid
    return [_combine(right, row) for row in zip(*lines, strict=True)]


def _combine(matrix: Matrix, parts: Sequence[Any]) -> list[Any]:
    """Multiply a matrix by a vector of arrays, skipping products by 0, 1 and -1."""
    sums = []
    for row in matrix:
        terms = [(weight, part) for weight, part in zip(row, parts, strict=True) if weight]
        total = None
        for weight, part in terms:
            part = part if abs(weight) == 1 else abs(weight) * part
            if total is None:
                total = part if weight > 0 else -part
            else:
                total = total + part if weight > 0 else total - part
        sums.append(total)
    return sums
