"""Output folders for images: never mix with other files, never overwrite any."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.data.folders import pair_key, shortened

# The grid of samples: a hidden file, so that readers of the folder do not take it for a sample.
SHEET = ".grid.png"
TABLE = "samples.csv"  # the seed and class of each sample
# Each PNG of --mode=sample and --mode=transform has one of these text chunks, besides the run's
# name; the PNG files of a training have none of them.
_OURS = {"index", "source", "interpolate"}


def check_output(output: Path, *, overwrite: bool = False) -> None:
    """Raise UserError unless `output` is an empty folder or can be created; call before the work.

    Args:
      output: the folder. Hidden files in it are ignored.
      overwrite: whether it may hold images of an earlier call, which `clear` deletes.
    """
    there = _first_there(output)
    if not there.is_dir():
        raise UserError(f"--output={output}: {there} is a file, name a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"--output={output}: {there} cannot be written, name another folder")
    files = _files(output)
    if files and not overwrite:
        raise UserError(
            f"--output={output} holds {len(files):,} files ({shortened(files)}): name another"
            " folder, or have the images of an earlier call deleted first with --overwrite"
        )
    if foreign := [name for name in files if not _is_ours(output / name)]:
        raise UserError(
            f"--output={output} holds {len(foreign):,} files that --mode=sample or transform did"
            f" not write ({shortened(foreign)}): --overwrite deletes none of them, name another"
            " folder"
        )


def check_file(output: Path, *, overwrite: bool = False) -> None:
    """Raise UserError unless a file can be written there; call before the work."""
    folder = _first_there(output.absolute().parent)
    if not folder.is_dir():
        raise UserError(f"--output={output}: {folder} is a file, name another place")
    if not os.access(folder, os.W_OK):
        raise UserError(f"--output={output}: {folder} cannot be written, name another place")
    if output.is_dir():
        raise UserError(f"--output={output} is a folder, name a file")
    if output.exists() and not overwrite:
        raise UserError(f"--output={output} is there: name another file, or say --overwrite")


def _first_there(path: Path) -> Path:
    """Return a path, or its nearest parent that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def clear(output: Path, *, overwrite: bool) -> None:
    """Delete the images of an earlier call from a folder, if it still passes `check_output`."""
    check_output(output, overwrite=overwrite)
    for name in _files(output):
        (output / name).unlink()
    (output / SHEET).unlink(missing_ok=True)


def output_names(names: Sequence[str]) -> dict[str, str]:
    """Return a unique PNG name for each image.

    It is the pair key plus ".png"; if several images share that name, the full name plus ".png":
    a.jpg.png and a.png.png.
    """
    whole: set[str] = set()
    while True:
        made = {n: f"{n if n in whole else pair_key(n)}.png" for n in names}
        count = Counter(made.values())
        if not (more := {n for n in names if count[made[n]] > 1} - whole):
            return made
        whole |= more


def compared_names(made: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each output's comparison, a.compare.png for a.png, unless it is taken.

    Args:
      made: as from `output_names`.
    """
    taken, found = set(made.values()), {}
    for image, output in made.items():
        path = PurePosixPath(output)
        while path.as_posix() in taken:
            path = path.with_name(f"{path.stem}.compare{path.suffix}")
        found[image] = path.as_posix()
        taken.add(found[image])
    return found


def _files(output: Path) -> list[str]:
    """Return the relative paths of all files that are not hidden."""
    found = (p.relative_to(output) for p in output.rglob("*") if p.is_symlink() or not p.is_dir())
    return sorted(p.as_posix() for p in found if not any(part[0] == "." for part in p.parts))


def _is_ours(path: Path) -> bool:
    if path.is_symlink():
        return False
    if path.name == TABLE:
        return path.read_bytes().startswith(b"file,run,step,seed,index")
    try:
        with Image.open(path) as picture:
            return "run" in picture.info and bool(_OURS & picture.info.keys())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
