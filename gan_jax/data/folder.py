"""A folder of images, flat, or with sub-folders for splits and classes; two folders make pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.images import preprocess, read_image
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.data.dataset import (
    Arrays,
    Dataset,
    Split,
    array_split,
    fingerprint,
    holdout_size,
    how_to_preprocess,
    stack,
)
from gan_jax.data.folders import by_key, nfc, pair_key, scan, shortened
from gan_jax.data.image_files import damaged, map_files, range_notes, read_headers, widest
from gan_jax.data.layout import Layout, lay_out


def open_folder(config: ConfigDict) -> Dataset:
    """Open the image folder `data.path`, and its other half `data.target_path` if that is set.

    `gan_jax.data.folders.scan` says which files are images, `gan_jax.data.layout.lay_out` what the
    sub-folders are: splits, and classes in the order of `folders.class_order`. Split "eval" is the
    folder's own (val, valid, validation or eval); else its test split, under both names; else an
    image belongs to it by the SHA-256 of its pair key: both halves of a pair go together, and where
    `data.holdout` is a share, it stays there when images are added. Of so few that none is chosen
    (or all are), one is. With `data.channels=0` images have the channels of the widest one.

    The fingerprint is of the names and sizes of the files, and of splits and classes where runs
    from before there were such rules had others.

    Raises:
      UserError: no folder, no images, unpaired or unreadable files (unless data.on_error=skip).
    """
    if not config.path:
        raise UserError("data.path is empty: name an image folder, such as --config.data.path=DIR")
    root, other = Path(config.path), Path(config.target_path)  # as `open_data` wrote them out
    found = scan(root)
    layout = lay_out(found)
    notes = [*found.notes(), *layout.notes]
    names = [name for part in layout.splits.values() for name in part]
    named = len(names)
    targets: dict[str, str] = {}
    if config.target_path:
        targets, more = _partners(config, names)
        names, notes = [name for name in names if name in targets], notes + more
    before = tuple(map(nfc, sorted({name.split("/")[0] for name in names})))  # 2026-11-27
    partners = [targets[name] for name in names if targets]
    channels, more = _channels(config, root, names)
    notes += more + range_notes(root, names, config.white)
    target_channels = 0
    if targets:
        target_channels, more = _channels(config, other, partners)
        notes += more + range_notes(other, partners, config.white)
    how = how_to_preprocess(config, channels)
    if config.white:
        how["white"] = config.white

    def read_file(name: str) -> Arrays:
        example = {"image": preprocess(read_image(root / name, white=config.white), how)}
        if targets:
            target = read_image(other / targets[name], white=config.white)
            example["target"] = preprocess(target, {**how, "channels": target_channels})
        if layout.classes:
            example["label"] = np.int32(layout.label(name))
        return example

    pixels = len(names) * config.size[0] * config.size[1]
    gib = pixels * (channels + target_channels) / 2**30
    in_memory = gib <= config.memory_gib
    examples: dict[str, Arrays] | dict[str, int] = {}
    if in_memory or config.on_error == "skip":
        # A bad file shows now, before anything is written. Larger folders show it when it is read.
        examples, bad = map_files(names, read_file if in_memory else lambda n: len(read_file(n)))
        if bad and (config.on_error == "raise" or not examples):
            raise damaged(bad, len(names))
        if bad:
            notes.append(f"{root}: left out {len(bad):,} (unreadable): {shortened(list(bad))}")
        names = list(examples)
        if not in_memory:
            examples = {}
    parts, more = _split(layout, names, config.holdout)
    notes += [f"{root}: {line}" for line in more]
    splits: dict[str, Split] = {}
    for key, part in parts.items():  # "eval" may be the very images of "test"
        same = key == "test" and part == parts["eval"]
        splits[key] = splits["eval"] if same else _file_split(part, read_file, examples)
    streams = {"image": Stream((*config.size, channels), "float32", "image")}
    if targets:
        streams["target"] = Stream((*config.size, target_channels), "float32", "image")
    if layout.classes:
        streams["label"] = Stream((), "int32", "label")
    files = [root / name for name in names]
    files += [other / targets[name] for name in names if targets]
    sizes = [file.stat().st_size for file in files]
    identity = [list(map(nfc, names)), sizes, how, target_channels, config.holdout]
    if layout.official:
        identity.append({key: len(part) for key, part in parts.items()})
    elif layout.classes and layout.classes != before:
        identity.append(layout.classes)
    spec = DataSpec(
        name=root.absolute().name,
        streams=streams,
        num_classes=len(layout.classes),
        class_names=layout.classes,
        counts={k: len(s) for k, s in splits.items()},
        preprocess={**how, "skipped": named - len(names)},
        fingerprint=fingerprint(identity),
        notes=tuple(notes),
    )
    return Dataset(spec, splits)


def _partners(config: ConfigDict, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the partner under `target_path` of each name that has one, and what is to be said."""
    found = scan(Path(config.target_path))
    there = by_key(found.root, found.names)
    partners = {name: there[pair_key(name)] for name in names if pair_key(name) in there}
    alone = [name for name in names if name not in partners]
    if alone and config.on_error == "raise":
        raise UserError(
            f"{len(alone)} of {len(names)} images in {config.path} have no partner of the same name"
            f" in {config.target_path}, the first is {alone[0]}: add them, or leave such files out"
            " with --config.data.on_error=skip"
        )
    if len(alone) == len(names):
        raise UserError(f"no file of {config.path} has its partner in {config.target_path}")
    notes = found.notes()
    used = set(partners.values())
    sides = ((config.path, alone), (found.root, [name for name in found.names if name not in used]))
    notes += [
        f"{root}: left out {len(odd):,} (no partner of the same name): {shortened(odd)}"
        for root, odd in sides
        if odd
    ]
    return partners, notes


def _channels(config: ConfigDict, root: Path, names: Sequence[str]) -> tuple[int, list[str]]:
    """Return `data.channels`, or those of the widest image, and what is to be said."""
    if config.channels:
        return config.channels, []
    headers = read_headers(root, names, config.on_error)
    return widest(root, headers)


def _split(
    layout: Layout, names: Sequence[str], holdout: float
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the names by split, of those that can be read, and what is to be said."""
    there = set(names)
    parts = {
        key: tuple(name for name in part if name in there) for key, part in layout.splits.items()
    }
    for key, part in parts.items():
        if not part:
            raise UserError(f"none of the {len(layout.splits[key])} images of split {key} is left")
    if "eval" in parts:
        return parts, []
    if "test" in parts:
        note = "no split val: the test images are split eval too, by which eval.best would choose"
        return {"train": parts["train"], "eval": parts["test"], "test": parts["test"]}, [note]
    keys = {name: pair_key(layout.inner(name)) for name in parts["train"]}
    train, held_out, forced = _by_hash(keys, holdout)
    note = f"of {len(keys):,} images data.holdout={holdout:g} by hash takes {forced}"
    return {"train": train, "eval": held_out}, [note] if forced else []


def _by_hash(
    keys: Mapping[str, str], holdout: float
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Split names into (train, eval) by the hash of their keys, whatever the others are.

    Returns:
      (train, eval, "" or what was done because there are too few).
    """
    names, forced = list(keys), ""
    place = {name: hashlib.sha256(key.encode()).digest()[:8] for name, key in keys.items()}
    ordered = sorted(names, key=place.__getitem__)
    if 0 < holdout < 1 and len(names) > 1:
        limit = int(holdout * 2**64).to_bytes(8, "big")
        size = sum(place[name] < limit for name in names)
        if size in (0, len(names)):
            forced = "all: 1 is kept to train on" if size else "none: the nearest 1 is held out"
            size = min(max(size, 1), len(names) - 1)
    else:
        size = holdout_size(len(names), holdout)
    held_out = set(ordered[:size])
    train = tuple(name for name in names if name not in held_out)
    return train, tuple(name for name in names if name in held_out), forced


def _file_split(
    names: Sequence[str], read: Callable[[str], Arrays], examples: Mapping[str, Arrays]
) -> Split:
    if not examples:
        return Split(len(names), lambda i: read(names[i]))
    return array_split(stack([examples[name] for name in names]))
