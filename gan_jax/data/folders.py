"""What a folder of images holds: the one place that says which files are read, and which are not.

Training, `--mode=transform` and the evaluation of folders all read a folder through `scan`. What it
leaves out is counted and named by reason, and said by `Scan.notes`. Files are paired by `pair_key`.
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
NO_IMAGE = "no PNG, JPEG, WebP, BMP or TIFF"
HIDDEN = "hidden, or thumbnails and metadata of a file server"
LOOP = "a link back to a folder that it lies in"
BROKEN = "a link to nothing"
CLOSED = "a folder that may not be opened"
EMPTY = "an empty folder"

SHOWN = 10  # names of what is left out, in a line for people


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
            first, second = sorted((other, name))
            raise UserError(
                f"{root} has both {first} and {second}: which of them is the partner of an image of"
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
