"""Read many image files in threads, and report how they differ.

Reports cover damaged files, numbers of channels, and 16-bit files that do not fill their range.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gan_jax.core.errors import UserError
from gan_jax.core.images import Header, read_header, read_peak
from gan_jax.data.folders import pair_key, shortened

T = TypeVar("T")

PROBES = 64  # files of a folder whose range of values is checked
CHUNK = 4096  # files submitted to the thread pool at a time


def read_headers(root: Path, names: Sequence[str], on_error: str = "raise") -> dict[str, Header]:
    """Return the headers of images by name.

    Args:
      root: their folder.
      names: paths relative to `root`.
      on_error: "raise", or "skip" to leave out files whose header is damaged.

    Raises:
      UserError: a damaged header.
    """
    found, bad = map_files(names, lambda name: read_header(root / name))
    if bad and (on_error == "raise" or not found):
        raise damaged(bad, len(names))
    return found


def map_files(
    names: Sequence[str], function: Callable[[str], T]
) -> tuple[dict[str, T], dict[str, UserError]]:
    """Apply a function to names in threads; return its results and its UserErrors, by name."""

    def attempt(name: str) -> T | UserError:
        try:
            return function(name)
        except UserError as error:
            return error

    done: dict[str, T] = {}
    bad: dict[str, UserError] = {}
    # Pillow releases the interpreter lock while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            for name, result in zip(some, pool.map(attempt, some), strict=True):
                if isinstance(result, UserError):
                    bad[name] = result
                else:
                    done[name] = result
    return done, bad


def damaged(bad: Mapping[str, UserError], total: int) -> UserError:
    """Return the error that lists which of `total` images cannot be read."""
    first = next(iter(bad.values()))
    if len(bad) == 1:
        return first
    count = "none" if len(bad) == total else f"{len(bad):,}"
    left = " can" if len(bad) == total else " cannot"
    return UserError(
        f"{count} of the {total:,} images{left} be read: {shortened(list(bad))}; the first: {first}"
    )


def widest(root: Path, headers: Mapping[str, Header]) -> tuple[int, list[str]]:
    """Return the largest number of channels of an image, and notes.

    Nothing is lost: grey becomes RGB, and RGB becomes RGBA, if any image has these channels.
    """
    names = {1: "grey", 3: "RGB", 4: "RGBA"}
    kinds: dict[int, list[str]] = {}
    for name, header in headers.items():
        kinds.setdefault(header.channels, []).append(name)
    most = max(kinds)
    if len(kinds) == 1:
        return most, []
    there = ", ".join(f"{len(kinds[c]):,} {names[c]} ({kinds[c][0]})" for c in sorted(kinds))
    return most, [f"{root}: images of unlike channels, {there}: all are read as {names[most]}"]


def range_notes(root: Path, names: Sequence[str], white: int = 0) -> list[str]:
    """Return notes on 16-bit files that use a fraction of their range, from a sample of the files.

    12-bit camera data in a 16-bit file are nearly black when scaled by the file's range.

    Args:
      root: their folder.
      names: names of its images.
      white: `data.white`; if it is set, the range is known and there is no note.
    """
    if white:
        return []
    some = sorted(names, key=lambda name: hashlib.sha256(pair_key(name).encode()).digest())

    def peak(name: str) -> tuple[int, int]:
        header = read_header(root / name)
        return (read_peak(root / name), header.channels) if header.deep else (-1, 0)

    found, _ = map_files(some[:PROBES], peak)
    deep = [result for result in found.values() if result[0] >= 0]
    highest = max((value for value, _ in deep), default=2**16)
    if highest >= 2**14:
        return []
    white = 2 ** max(8, highest.bit_length()) - 1
    fix = f"if that is white, train with --config.data.white={white}"
    if any(channels > 1 for _, channels in deep):
        fix = "if that is white, convert them to 8 bit (Pillow reads the upper 8 bits of colours)"
    return [
        f"{root}: the values of 16-bit images reach {highest:,} of 65,535 (in {len(deep)} looked"
        f" at), so that they are nearly black: {fix}"
    ]
