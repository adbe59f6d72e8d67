"""Scan a folder of images: the one place that decides which files are read.

Training, `--mode=transform` and the evaluation of folders all read a folder through `scan`. Files
that it leaves out are counted and listed by reason in `Scan.notes`. Files are paired by `pair_key`.
"""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from gan_jax.core.errors import UserError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif"),
    *(".webp", ".bmp", ".dib", ".tif", ".tiff"),
)
# Suffixes of other files that are common beside images: their first bytes need not be read.
OTHERS = (
    *(".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".md"),
    *(".html", ".npy", ".npz", ".pt", ".mat", ".zip", ".tar", ".gif", ".svg", ".pdf", ".mp4"),
)
# Folders that file servers and archives create beside the user's files.
METADATA = {
    "@eadir",
    "__macosx",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
NO_IMAGE = "no PNG, JPEG, WebP, BMP or TIFF"
HIDDEN = "hidden, or thumbnails and metadata of a file server"
LOOP = "a link back to a folder that it lies in"
BROKEN = "a link to nothing"
CLOSED = "a folder that may not be opened"
EMPTY = "an empty folder"

SHOWN = 10  # file names in a note


@dataclasses.dataclass(frozen=True)
class Scan:
    """The files in a folder and its sub-folders.

    Attributes:
      root: the folder.
      names: relative paths of the images with "/", sorted by their Unicode NFC form.
      left_out: reason -> relative paths of what is not read; a folder ends in "/".
    """

    root: Path
    names: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    def notes(self) -> list[str]:
        """Return one line for display per reason for which files are left out."""
        return [
            f"{self.root}: left out {len(names):,} ({reason}): {shortened(names)}"
            for reason, names in self.left_out.items()
        ]


def scan(root: Path) -> Scan:
    """Find the images in a folder and its sub-folders, following links.

    PNG, JPEG, WebP, BMP and TIFF files are recognised by their suffix or, if the suffix is unknown,
    by their first bytes. Hidden files and folders are left out, and so are the folders `METADATA`.

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
    """Return a name in Unicode NFC form: macOS writes other forms, which look the same."""
    return unicodedata.normalize("NFC", name)


def pair_key(name: str) -> str:
    """Return the key by which files are paired.

    It is the relative path in Unicode NFC form without an image suffix: "cat" for "cat.png" and
    "cat.jpg", but "cat.night" for "cat.night.jpg" and for an image file "cat.night".
    """
    path = PurePosixPath(nfc(name))
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()


def by_key(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the names by `pair_key`.

    Raises:
      UserError: two images with the same key, such as cat.png and cat.jpg.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(pair_key(name), name)
        if other != name:
            first, second = sorted((other, name))
            raise UserError(
                f"{root} has both {first} and {second}: which of them is the partner of an image of"
                " that name is not known, keep one"
            )
    return found


def class_of(name: str) -> str:
    """Return the class of an image in a sub-folder: its first folder, in Unicode NFC form."""
    return nfc(name.split("/")[0])


def class_order(names: Iterable[str]) -> list[str]:
    """Return the classes, sorted; numerically if all are integers: 2 before 10.

    Labels are indices in this order. Versions before 2026-11-27 sorted 10 before 2; where that
    changes the labels, the fingerprint differs too, so that no older run resumes with other labels.
    """
    classes = set(names)
    if all(name.removeprefix("-").isdecimal() and name.isascii() for name in classes):
        return sorted(classes, key=lambda name: (int(name), name))
    return sorted(classes)


def sub_folders(names: Iterable[str]) -> list[str]:
    """Return the classes of images: their first folders, in order; [] if any is in no folder."""
    names = list(names)
    if not all("/" in name for name in names):
        return []
    return class_order(map(class_of, names))


def shortened(names: Sequence[str]) -> str:
    """Return the first `SHOWN` names as text."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _walk(
    folder: Path,
    prefix: str,
    above: tuple[tuple[int, int], ...],
    images: list[str],
    left_out: dict[str, list[str]],
) -> None:
    """Add the files in a folder and its sub-folders to `images` and `left_out`.

    `above` holds the (device, inode) of the enclosing folders, to detect loops of links.
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
        except OSError:  # a link to itself, or no permission
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
    """Return whether a file is an image that we read, by its suffix or its first bytes."""
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
    if head[:2] == b"BM":  # also the start of a text; in a BMP four reserved bytes are 0
        return len(head) == 16 and head[6:10] == bytes(4)
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*"))
