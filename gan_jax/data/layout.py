"""Interpret the sub-folders of an image folder: splits, classes, or neither."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from gan_jax.core.errors import UserError
from gan_jax.data.folders import Scan, class_of, shortened, sub_folders

# Folder names that are splits, case-insensitive.
SPLITS = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation", "eval"), "eval"),
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which images belong to which split and class.

    Attributes:
      splits: names by split; only "train" if the folder has no split folders.
      official: whether the folder has split folders; each name then begins with its split folder.
      classes: names of the classes, in the order of the labels; () for none.
      notes: lines for display: what is left out, and why there are no classes.
    """

    splits: Mapping[str, tuple[str, ...]]
    official: bool
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def inner(self, name: str) -> str:
        """Return a name relative to its split folder."""
        return _strip_split(name) if self.official else name

    def label(self, name: str) -> int:
        """Return the label of an image; only if there are classes."""
        return self.classes.index(class_of(self.inner(name)))


def lay_out(found: Scan, domain: str = "") -> Layout:
    """Determine the splits and classes of a folder from its sub-folders.

    If there is a folder "train", alone or beside others named in `SPLITS`, these are the splits,
    and everything else beside them is left out. Within a split, or in a folder without splits,
    the sub-folders are classes if every image is in one.

    Args:
      found: the folder.
      domain: letter after the split names, "a" for trainA and testA; "" for none.

    Raises:
      UserError: splits without "train", two folders for one split, a single class with sub-folders
        of its own, or classes that split "train" does not have.
    """
    root = found.root
    splits, notes = _splits(root, found.names, domain)
    official = bool(splits)
    parts = splits or {"train": found.names}
    inner = {
        key: [_strip_split(n) if official else n for n in names] for key, names in parts.items()
    }
    where = root / parts["train"][0].split("/")[0] if official else root
    classes, more = _classes(where, inner["train"])
    notes += more
    for key in [key for key in parts if key != "train" and classes]:
        other = sub_folders(inner[key])
        if not other:
            notes.append(
                f"{root}: left out {len(parts[key]):,} (split {key} has no sub-folders, and"
                f" split train has classes): {shortened(parts[key])}"
            )
            del parts[key]
        elif unknown := [name for name in other if name not in classes]:
            raise UserError(
                f"{root}: split {key} has classes that train has not ({shortened(unknown)}): give"
                " both the same sub-folders"
            )
    return Layout(parts, official, tuple(classes), tuple(notes))


def _strip_split(name: str) -> str:
    return name.split("/", 1)[1]


def domain_names(names: Sequence[str], domain: str) -> tuple[str, ...]:
    """Return the names in the split folders of a domain, such as trainA/1.png for domain "a"."""
    return tuple(n for n in names if "/" in n and _split_of(n.split("/")[0], domain))


def _split_of(folder: str, domain: str) -> str:
    """Return the split that a folder name stands for, "" for none."""
    name = folder.lower()
    return SPLITS.get(name.removesuffix(domain), "") if name.endswith(domain) else ""


def _splits(
    root: Path, names: Sequence[str], domain: str
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the names by split ({} if the folder has no splits), and notes."""
    tops = {name.split("/")[0]: None for name in names if "/" in name}
    known = {top: split for top in tops if (split := _split_of(top, domain))}
    others = len(tops) - len(known)
    if "train" not in known.values():
        if known and not others:
            raise UserError(
                f"{root} has {', '.join(known)} and no train: name the folder with the images to"
                " train on"
            )
        return {}, []
    if len(known) == 1 and others:
        return {}, []  # "train" is one class among others
    folders: dict[str, str] = {}
    for top, split in known.items():
        if other := folders.get(split):
            raise UserError(f"{root} has both {other} and {top}: which is split {split}?")
        folders[split] = top
    splits = {
        split: tuple(name for name in names if name.startswith(f"{folders[split]}/"))
        for split in ("train", "eval", "test")
        if split in folders
    }
    beside = [name for name in names if "/" not in name or name.split("/")[0] not in known]
    notes = [f"{root}: left out {len(beside):,} (beside the splits): {shortened(beside)}"]
    return splits, notes if beside else []


def _classes(root: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the classes in a folder, and notes."""
    stray = [name for name in names if "/" not in name]
    if stray:
        folders = sub_folders(name for name in names if "/" in name)
        if not folders:
            return [], []
        return [], [
            f"{root}: no classes, since {len(stray):,} of its images lie beside the sub-folders"
            f" ({shortened(folders)}) and not in one: {shortened(stray)}"
        ]
    classes = sub_folders(names)
    below = {name.split("/")[1] for name in names if name.count("/") > 1}
    if len(classes) == 1 and below:
        raise UserError(
            f"{root} has one sub-folder, {classes[0]}, with sub-folders of its own"
            f" ({shortened(sorted(below))}): name the folder whose sub-folders are the classes,"
            f" such as {root / classes[0]}"
        )
    return classes, []
