"""What a folder of images holds: the one place that says which files are read, and which are not.

Training, `--mode=transform` and the evaluation of folders all read a folder through `scan`. What it
leaves out is counted and named by reason, and said by `Scan.notes`. Files are paired by `pair_key`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

from gan_jax.errors import UserError
from gan_jax.images import Header, read_header, read_peak

T = TypeVar("T")

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif"),
    *(".webp", ".bmp", ".dib", ".tif", ".tiff"),
)
# What lies beside images by the thousand, and need not be looked into.
OTHERS = (
    *(".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".md"),
    *(".html", ".npy", ".npz", ".pt", ".mat", ".zip", ".tar", ".gif", ".svg", ".pdf", ".mp4"),
)
# Folders that file servers and archives put beside the files of their users.
METADATA = {
    "@eadir",
    "__macosx",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
NO_IMAGE = "not an image by suffix or content"
HIDDEN = "hidden, or thumbnails and metadata of a file server"
LOOP = "a link back to a folder that it lies in"
BROKEN = "a link to nothing"
CLOSED = "a folder that may not be opened"
EMPTY = "an empty folder"

SHOWN = 10  # names of what is left out, in a line for people
PROBES = 64  # files of a folder whose range of values is looked at
CHUNK = 4096  # files that threads wait for at once


@dataclasses.dataclass(frozen=True)
class Scan:
    """The files of a folder and of all below it.

    Attributes:
      root: the folder.
      names: the images, relative with "/", in the order of their names in Unicode's form NFC.
      left_out: reason -> relative names of what is not read; a folder ends in "/".
    """

    root: Path
    names: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    def notes(self) -> list[str]:
        """Return a line for people for each reason to leave something out."""
        return [
            f"{self.root}: left out {len(names):,} ({reason}): {shortened(names)}"
            for reason, names in self.left_out.items()
        ]


def scan(root: Path) -> Scan:
    """Look through a folder; links are followed, and files of an unknown suffix are looked into.

    PNG, JPEG, WebP, BMP and TIFF are images, by their suffix, or by their first bytes where the
    suffix is not that of an image. Hidden files and folders are left out, and so is `METADATA`.

    Raises:
      UserError: no such folder, or no image in it.
    """
    if not root.is_dir():
        raise UserError(f"image folder {root} is not there: check the path")
    images: list[str] = []
    left_out: dict[str, list[str]] = {}
    _walk(root, "", (), images, left_out)
    found = Scan(
        root,
        tuple(sorted(images, key=lambda name: (nfc(name), name))),
        {reason: tuple(sorted(names)) for reason, names in sorted(left_out.items())},
    )
    if not images:
        saw = "".join(f"; {line}" for line in found.notes())
        raise UserError(f"image folder {root} holds no images ({', '.join(SUFFIXES)}){saw}")
    return found


def nfc(name: str) -> str:
    """Return a name in Unicode's form NFC: macOS writes others, which look the same."""
    return unicodedata.normalize("NFC", name)


def pair_key(name: str) -> str:
    """Return what two files that belong together have in common.

    The relative name in Unicode's form NFC without the suffix of an image: "cat" of "cat.png" and
    "cat.jpg", but "cat.night" of "cat.night.jpg", and of a file "cat.night" that is an image.
    """
    path = PurePosixPath(nfc(name))
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()


def by_key(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the names by `pair_key`.

    Raises:
      UserError: two images of one key, such as cat.png and cat.jpg.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(pair_key(name), name)
        if other != name:
            raise UserError(
                f"{root} has both {other} and {name}: which of them is the partner of an image of"
                " that name is not known, keep one"
            )
    return found


def class_of(name: str) -> str:
    """Return the class of an image in a sub-folder: the first folder, in Unicode's form NFC."""
    return nfc(name.split("/")[0])


def class_order(names: Iterable[str]) -> list[str]:
    """Return the classes, sorted; by number where all are whole numbers: 2 before 10.

    Labels are places in this order. Runs from before 2026-11-27 had 10 before 2; the fingerprint
    of their data is another where that matters, so that none goes on with other labels.
    """
    classes = set(names)
    if all(name.removeprefix("-").isdecimal() and name.isascii() for name in classes):
        return sorted(classes, key=lambda name: (int(name), name))
    return sorted(classes)


def sub_folders(names: Iterable[str]) -> list[str]:
    """Return the classes of images: their first folders, in order; none if an image is in none."""
    names = list(names)
    if not all("/" in name for name in names):
        return []
    return class_order(map(class_of, names))


def read_headers(root: Path, names: Sequence[str], on_error: str = "raise") -> dict[str, Header]:
    """Return the headers of images by name.

    Args:
      root: their folder.
      names: relative.
      on_error: "raise", or "skip" leaves out files whose header is damaged.

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
    """Apply a function to names in threads; return its results, and its errors, by name."""

    def attempt(name: str) -> T | UserError:
        try:
            return function(name)
        except UserError as error:
            return error

    done: dict[str, T] = {}
    bad: dict[str, UserError] = {}
    # Pillow decodes outside the interpreter lock.
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
    """Return the error that says which of `total` images cannot be read."""
    first = next(iter(bad.values()))
    if len(bad) == 1:
        return first
    count = "none" if len(bad) == total else f"{len(bad):,}"
    left = " can" if len(bad) == total else " cannot"
    return UserError(
        f"{count} of the {total:,} images{left} be read: {shortened(list(bad))}; the first: {first}"
    )


def widest(root: Path, headers: Mapping[str, Header]) -> tuple[int, list[str]]:
    """Return the channels of the image that has most, whatever its name, and what to say of it.

    Nothing is lost: grey becomes RGB, and RGB becomes RGBA, if one image is.
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
    """Return what is to be said of the values of 16-bit files, by a look at some of them.

    A camera's 12 bits in a 16-bit file are nearly black by the range of the file.

    Args:
      root: their folder.
      names: of its images.
      white: `data.white`, which says that the range is known.
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


def shortened(names: Sequence[str]) -> str:
    """Return the first names as text."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _walk(
    folder: Path,
    prefix: str,
    above: tuple[tuple[int, int], ...],
    images: list[str],
    left_out: dict[str, list[str]],
) -> None:
    """Add what is in a folder, and in those below it, to `images` and `left_out`.

    `above` are the folders that it lies in, by device and inode, links followed.
    """

    def leave(reason: str, name: str) -> None:
        left_out.setdefault(reason, []).append(name)

    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in above:
            leave(LOOP, prefix)
            return
        with os.scandir(folder) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        leave(CLOSED, prefix or "./")
        return
    if not there and prefix:
        leave(EMPTY, prefix)
    above = (*above, (status.st_dev, status.st_ino))
    for entry in there:
        name = prefix + entry.name
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself, or a folder that may not be looked into
            is_folder = is_file = False
        if entry.name.startswith(".") or (is_folder and entry.name.lower() in METADATA):
            leave(HIDDEN, name + "/" * is_folder)
        elif is_folder:
            _walk(folder / entry.name, f"{name}/", above, images, left_out)
        elif not is_file:
            leave(BROKEN if entry.is_symlink() else NO_IMAGE, name)
        elif _is_image(folder / entry.name):
            images.append(name)
        else:
            leave(NO_IMAGE, name)


def _is_image(path: Path) -> bool:
    """Say by its suffix, or by its first bytes, whether a file is one of the kinds that we read."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in OTHERS:
        return suffix in SUFFIXES
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[:2] == b"BM":  # two letters that begin words, too: four reserved bytes are 0
        return len(head) == 16 and head[6:10] == bytes(4)
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*"))
