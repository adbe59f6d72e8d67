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
from collections.abc import Callable, Iterator

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
    size = tuple(round(side * scale) for side in plan.size)
    pieces = _pieces(function, pad_image(image, plan.padded), plan, batch, advance)
    if plan.blend:
        return finish(_blended(pieces, size, scale))
    result = np.empty(0)
    for row, column, piece in pieces:
        piece = finish(piece)
        result = result if result.size else np.empty((*size, piece.shape[-1]), piece.dtype)
        top, left = round(row.start * scale), round(column.start * scale)
        rows, columns = (
            slice(round(span.low * scale), min(round(span.high * scale), side))
            for span, side in zip((row, column), size, strict=True)
        )
        result[rows, columns] = piece[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return result


def _pieces(
    function: Callable[[np.ndarray], np.ndarray],
    padded: np.ndarray,
    plan: Plan,
    batch: int,
    advance: Callable[[float], None] | None,
) -> Iterator[tuple[Span, Span, np.ndarray]]:
    """Yield each window and its result, row by row."""
    (height, width), windows = plan.window, plan.windows
    batch = min(batch, len(windows))
    for first in range(0, len(windows), batch):
        some = windows[first : first + batch]
        given = np.zeros((batch, height, width, padded.shape[2]), padded.dtype)
        for i, (row, column) in enumerate(some):
            given[i] = padded[row.start : row.start + height, column.start : column.start + width]
        for (row, column), piece in zip(some, np.asarray(function(given)), strict=False):
            yield row, column, piece
        if advance:
            advance(min(1.0, (first + batch) / len(windows)))


def _blended(
    pieces: Iterator[tuple[Span, Span, np.ndarray]], size: tuple[int, int], scale: float
) -> np.ndarray:
    """Return the results of windows, blended linearly where they overlap, first along rows."""
    result = np.empty(0)
    for row, group in itertools.groupby(pieces, key=lambda found: found[0]):
        strip = np.empty(0)
        for _, column, piece in group:
            if not strip.size:
                strip = np.zeros((len(piece), size[1], piece.shape[-1]), np.float32)
            _blend(strip.swapaxes(0, 1), piece.swapaxes(0, 1), column, scale)
        result = result if result.size else np.zeros((*size, strip.shape[-1]), np.float32)
        _blend(result, strip, row, scale)
    return result


def _blend(result: np.ndarray, piece: np.ndarray, span: Span, scale: float) -> None:
    """Write a piece along the first axis of a result, over what the piece before it left there."""
    start, shared = round(span.start * scale), round(span.shared * scale)
    part = result[start : start + len(piece)]
    share = np.minimum(1, (np.arange(len(part), dtype=np.float32) + 0.5) / max(shared, 0.5))
    part += share[:, None, None] * (piece[: len(part)] - part)


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


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
