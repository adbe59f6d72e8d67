"""Apply a function to an image in windows of one shape, and join the results without seams.

Windows lie inside the (padded) image, so that an edge of the image is an edge of a window, where
convolutions pad as they do on the whole image. Where two windows overlap, each result is taken from
the window that sees more around it: with an overlap of twice the receptive field's radius, results
equal those of the whole image. Otherwise overlaps can be blended, which hides seams.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np

from gan_jax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Span:
    """A window along one axis [px of the input].

    Attributes:
      start: its first pixel.
      low, high: the part of the result that is taken from it.
      shared: how many of its first pixels the window before it covers too.
    """

    start: int
    low: int
    high: int
    shared: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where the windows of an image lie.

    Attributes:
      size: (height, width) of the image [px].
      padded: its size after padding at the bottom and on the right [px].
      window: size of each window [px].
      rows, columns: the windows are all pairs of these.
      blend: whether results are blended linearly where windows overlap.
    """

    size: tuple[int, int]
    padded: tuple[int, int]
    window: tuple[int, int]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    blend: bool = False

    @property
    def windows(self) -> list[tuple[Span, Span]]:
        """All windows, row by row."""
        return [(row, column) for row in self.rows for column in self.columns]


def make_plan(
    size: tuple[int, int],
    *,
    multiple: int = 1,
    tile: int = 0,
    context: int = 0,
    least: int = 1,
    blend: bool = False,
) -> Plan:
    """Plan the windows of an image.

    Args:
      size: (height, width) of the image [px].
      multiple: sides and starts of windows are multiples of it.
      tile: side of a window [px]; a side of the image up to this is not cut. 0 cuts none.
      context: windows overlap by at least twice this [px].
      least: a side that is not cut is padded to a multiple of this too, so that images of many
        sizes need few shapes.
      blend: as in `Plan`.

    Raises:
      UserError: a tile that is too small for the context.
    """
    axes = []
    for side in size:
        if not tile or side <= tile:
            padded = _up(side, math.lcm(multiple, least))
            axes.append((padded, padded, (Span(0, 0, padded),)))
            continue
        padded, window = _up(side, multiple), tile // multiple * multiple
        stride = (window - 2 * context) // multiple * multiple
        if stride < 1:
            raise UserError(
                f"--tile={tile}: tiles overlap by 2 x {context} px here and begin at multiples of"
                f" {multiple} px: at least {_up(2 * context + multiple, multiple)}"
            )
        starts = [*range(0, padded - window, stride), padded - window]
        cuts = [(a + window + b) // 2 for a, b in itertools.pairwise(starts)]
        shared = [a + window - b for a, b in itertools.pairwise(starts)]
        limits = zip(starts, [0, *cuts], [*cuts, padded], [0, *shared], strict=True)
        axes.append((padded, window, tuple(Span(*limit) for limit in limits)))
    (height, tall, rows), (width, wide, columns) = axes
    return Plan(size, (height, width), (tall, wide), rows, columns, blend)


def apply_in_windows(
    function: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    plan: Plan,
    *,
    scale: float = 1.0,
    batch: int = 1,
    finish: Callable[[np.ndarray], np.ndarray] = np.asarray,
    advance: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Return the result of a function of the windows of an image, for the whole image.

    Args:
      function: windows [batch, h, w, C] of the type of `image` -> float [batch, h * scale,
        w * scale, C'].
      image: [H, W, C].
      plan: of this size of image.
      scale: height and width of a result relative to its input.
      batch: windows per call; the last call is filled up with copies.
      finish: conversion of results, such as to uint8, which saves memory.
      advance: called with the share of the windows that is done, in (0, 1].

    Returns:
      [H * scale, W * scale, C'] of the type that `finish` returns.
    """
    padded = pad_image(image, plan.padded)
    (height, width), windows = plan.window, plan.windows
    size = tuple(round(side * scale) for side in plan.size)
    batch = min(batch, len(windows))
    result = np.empty(0)
    for first in range(0, len(windows), batch):
        some = windows[first : first + batch]
        parts = [padded[r.start : r.start + height, c.start : c.start + width] for r, c in some] + [
            np.zeros((height, width, image.shape[2]), image.dtype)
        ] * (batch - len(some))
        made = np.asarray(function(np.stack(parts)))
        made = made if plan.blend else finish(made)
        if not result.size:
            result = np.zeros((*size, made.shape[-1]), made.dtype)
        for (row, column), piece in zip(some, made, strict=False):
            (_blend if plan.blend else _place)(result, piece, row, column, scale)
        if advance:
            advance(min(1.0, (first + batch) / len(windows)))
    return finish(result) if plan.blend else result


def pad_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pad [H, W, C] at the bottom and on the right to `size`.

    By reflection, without repeating the edge; by the edge where the image is thinner than the pad.
    """
    for axis in (0, 1):
        more = size[axis] - image.shape[axis]
        if more:
            pads = [(0, 0)] * image.ndim
            pads[axis] = (0, more)
            mode = "reflect" if more < image.shape[axis] else "edge"
            image = np.pad(image, pads, mode=mode)
    return image


def _place(result: np.ndarray, piece: np.ndarray, row: Span, column: Span, scale: float) -> None:
    """Copy the part of a window's result that is taken from it."""
    here, there = [], []
    for span, side in zip((row, column), result.shape, strict=False):
        start, low, high = (round(x * scale) for x in (span.start, span.low, span.high))
        here.append(slice(low, min(high, side)))
        there.append(slice(low - start, min(high, side) - start))
    result[tuple(here)] = piece[tuple(there)]


def _blend(result: np.ndarray, piece: np.ndarray, row: Span, column: Span, scale: float) -> None:
    """Blend a window's result with those of the windows above and to the left."""
    here, weights = [], []
    for span, side, length in zip((row, column), result.shape, piece.shape, strict=False):
        start, shared = round(span.start * scale), round(span.shared * scale)
        end = min(start + length, side)
        ramp = np.ones(end - start, np.float32)
        ramp[:shared] = ((np.arange(shared, dtype=np.float32) + 0.5) / max(shared, 1))[
            : end - start
        ]
        here.append(slice(start, end))
        weights.append(ramp)
    part = result[tuple(here)]
    share = (weights[0][:, None] * weights[1])[..., None]
    part += share * (piece[: part.shape[0], : part.shape[1]] - part)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
