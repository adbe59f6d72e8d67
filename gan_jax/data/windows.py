"""Photographs at full resolution, cut into square windows: `data.fit=windows`.

Networks that restore images are trained on patches. Resizing whole photographs would destroy what
these networks are to restore, so every photograph is cut into overlapping windows of `data.size`,
and a window is an example. The whole photographs remain available for evaluation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.images import read_image
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.data.dataset import Arrays, Dataset, Split, array_split, how_to_preprocess, stack
from gan_jax.data.folders import shortened


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One photograph, or the two halves of a pair.

    Attributes:
      name: for messages.
      shapes: stream -> (height, width) [px].
      read: () -> {stream: uint8 [H, W, C]}.
    """

    name: str
    shapes: Mapping[str, tuple[int, int]]
    read: Callable[[], Arrays]


def photograph(
    name: str, paths: Mapping[str, tuple[Path, tuple[int, int]]], how: Mapping[str, int]
) -> Photograph:
    """Return the photograph in files: stream -> (path, (height, width)); `how`: its channels."""

    def read() -> Arrays:
        white = how.get("white", 0)
        return {s: read_image(p, how[s], white=white) for s, (p, _) in paths.items()}

    return Photograph(name, {stream: shape for stream, (_, shape) in paths.items()}, read)


def starts(length: int, size: int, step: int) -> list[int]:
    """Return the first pixel of each window along an axis: evenly spread, both ends included.

    Args:
      length: of the axis [px], at least `size`.
      size: of a window [px].
      step: largest distance between neighbouring windows [px].
    """
    count = 1 + -(-(length - size) // step)
    return [int(x) for x in np.rint(np.linspace(0, length - size, count))]


def windowed(
    photographs: Mapping[str, Sequence[Photograph]],
    *,
    name: str,
    config: ConfigDict,
    channels: Mapping[str, int],
    fingerprint: str,
    notes: Sequence[str] = (),
    skipped: int = 0,
    white: int = 0,
) -> Dataset:
    """Return the data set of the windows of some photographs.

    Windows of split "train" overlap by half, so that every patch of half their size lies in one;
    those of other splits overlap no more than is needed to cover the photograph. Of pairs, windows
    of the larger image have `data.size`, and windows of the smaller one show the same place.

    Args:
      photographs: by split; all have the same streams.
      name: of the data, for display.
      config: the section "data".
      channels: stream -> channels of its images.
      fingerprint, notes: as in `DataSpec`.
      skipped: files that could not be read.
      white: as in `read_image`.

    Raises:
      UserError: no square windows, a photograph smaller than a window, or pairs whose sizes are not
        related by one integer factor.
    """
    if config.size[0] != config.size[1]:
        raise UserError(
            f"data.size={tuple(config.size)} with data.fit=windows: windows are square, such as"
            " --config.data.size=96,96"
        )
    notes, scale = list(notes), _scale([p for part in photographs.values() for p in part])
    size = config.size[0]
    if any(size % s for s in scale.values()):
        raise UserError(
            f"data.size={size},{size} with pairs of scale {max(scale.values())}: the side of a"
            " window must divide by it"
        )
    kept: dict[str, list[Photograph]] = {}
    for split, part in photographs.items():
        small = [p for p in part if min(min(x) * scale[s] for s, x in p.shapes.items()) < size]
        if small and (config.on_error == "raise" or len(small) == len(part)):
            raise UserError(
                f"data.size={size},{size}: {len(small):,} of {len(part):,} photographs of split"
                f" {split} are smaller than a window, such as {small[0].name}: use smaller windows,"
                " or leave them out with --config.data.on_error=skip"
            )
        if small:
            few = shortened([p.name for p in small])
            notes.append(f"split {split}: left out {len(small):,} (smaller than a window): {few}")
        kept[split] = [p for p in part if p not in small]
    sides = {stream: size // s for stream, s in scale.items()}
    splits = {
        split: _windows(part, sides, channels, config, half=split == "train")
        for split, part in kept.items()
    }
    how = dict(**how_to_preprocess(config, channels["image"]), skipped=skipped)
    spec = DataSpec(
        name=name,
        streams={
            stream: Stream((side, side, channels[stream]), "float32", "image")
            for stream, side in sides.items()
        },
        counts={key: len(split) for key, split in splits.items()},
        preprocess={**how, "white": white} if white else how,
        fingerprint=fingerprint,
        notes=tuple(notes),
    )
    whole = {key: Split(len(p), lambda i, p=p: p[i].read()) for key, p in kept.items()}
    return Dataset(spec, splits, whole)


def _scale(photographs: Sequence[Photograph]) -> dict[str, int]:
    """Return by how much a stream is smaller than the largest one: {"image": 2, "target": 1}."""
    first = photographs[0]
    largest = max(first.shapes.values())
    scale = {stream: max(1, largest[0] // shape[0]) for stream, shape in first.shapes.items()}
    for photo in photographs:
        sides = {(h * scale[s], w * scale[s]) for s, (h, w) in photo.shapes.items()}
        if len(sides) > 1:
            there = " and ".join(f"{h}x{w} px" for h, w in photo.shapes.values())
            factor = max(scale.values())
            raise UserError(
                f"the halves of pair {photo.name} are of {there}: with data.fit=windows both have"
                f" the same size, or one is smaller by an integer factor, the same for all pairs"
                f" ({factor} in {first.name})"
            )
    return scale


def _windows(
    photographs: Sequence[Photograph],
    sides: Mapping[str, int],
    channels: Mapping[str, int],
    config: ConfigDict,
    *,
    half: bool,
) -> Split:
    """Return the split of the windows of some photographs; with `half` they overlap by half."""
    small = min(sides, key=sides.__getitem__)
    side = sides[small]
    step = max(side // 2, 1) if half else side
    table = [
        (number, y, x)
        for number, photo in enumerate(photographs)
        for y in starts(photo.shapes[small][0], side, step)
        for x in starts(photo.shapes[small][1], side, step)
    ]

    def cut(arrays: Arrays, y: int, x: int) -> Arrays:
        found = {}
        for stream, n in sides.items():
            top, left = y * (n // side), x * (n // side)
            found[stream] = arrays[stream][top : top + n, left : left + n]
        return found

    def read(index: int) -> Arrays:
        number, y, x = table[index]
        return cut(photographs[number].read(), y, x)

    def read_all() -> Arrays:
        whole = [photo.read() for photo in photographs]
        return stack([cut(whole[number], y, x) for number, y, x in table])

    size = len(table) * sum(n * n * channels[stream] for stream, n in sides.items())
    if size > config.memory_gib * 2**30:
        return Split(len(table), read)
    return array_split(read_all())
