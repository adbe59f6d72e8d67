"""A folder of images, flat or with a sub-folder a class; two folders make pairs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from ml_collections import ConfigDict

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
from gan_jax.errors import UserError
from gan_jax.images import list_images, preprocess, read_image
from gan_jax.spec import DataSpec, Stream


def open_folder(config: ConfigDict) -> Dataset:
    """Open the image folder `data.path`, and its other half `data.target_path` if that is set.

    With sub-folders each is a class, in the order of their names; images of a flat folder have no
    labels. An image belongs to split "eval" by the SHA-256 of its relative name without suffix:
    both halves of a pair go together, and where `data.holdout` is a share, it stays there when
    images are added. The fingerprint is of the names and sizes of the files.

    Raises:
      UserError: no folder, no images, unpaired or unreadable files (unless data.on_error=skip).
    """
    if not config.path:
        raise UserError("data.path is empty: name an image folder, such as --config.data.path=DIR")
    root = Path(config.path).expanduser()
    names = list_images(root)
    targets = _partners(config, names) if config.target_path else {}
    named = len(names)
    if targets:
        names = [name for name in names if _stem(name) in targets]
    channels = config.channels or _stored_channels(root, names, config.on_error)
    other, target_channels = Path(config.target_path).expanduser(), 0
    if targets:
        partners = [targets[_stem(name)] for name in names]
        target_channels = config.channels or _stored_channels(other, partners, config.on_error)
    how = how_to_preprocess(config, channels)
    classes = _classes(names)

    def read_file(name: str) -> Arrays:
        example = {"image": preprocess(read_image(root / name), how)}
        if targets:
            target = read_image(other / targets[_stem(name)])
            example["target"] = preprocess(target, {**how, "channels": target_channels})
        if classes:
            example["label"] = np.int32(classes.index(name.split("/")[0]))
        return example

    pixels = len(names) * config.size[0] * config.size[1]
    gib = pixels * (channels + target_channels) / 2**30
    in_memory = gib <= config.memory_gib
    examples: dict[str, Arrays] = {}
    if in_memory or config.on_error == "skip":
        # A bad file shows now, before anything is written. Larger folders show it when it is read.
        examples = _read_each(names, read_file, config.on_error)
        names = list(examples)
        if not in_memory:
            examples = {}
    train, held_out = _by_hash(names, config.holdout)
    splits = {
        "train": _file_split(train, read_file, examples),
        "eval": _file_split(held_out, read_file, examples),
    }
    streams = {"image": Stream((*config.size, channels), "float32", "image")}
    if targets:
        streams["target"] = Stream((*config.size, target_channels), "float32", "image")
    if classes:
        streams["label"] = Stream((), "int32", "label")
    files = [root / name for name in names]
    files += [other / targets[_stem(name)] for name in names if targets]
    sizes = [file.stat().st_size for file in files]
    spec = DataSpec(
        name=root.absolute().name,
        streams=streams,
        num_classes=len(classes),
        class_names=tuple(classes),
        counts={k: len(s) for k, s in splits.items()},
        preprocess={**how, "skipped": named - len(names)},
        fingerprint=fingerprint([names, sizes, how, target_channels, config.holdout]),
    )
    return Dataset(spec, splits)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _partners(config: ConfigDict, names: list[str]) -> dict[str, str]:
    """Return the names under `target_path` by stem."""
    there = list_images(Path(config.target_path).expanduser())
    partners = {_stem(name): name for name in there}
    if len(partners) < len(there):
        twice = next(name for name in there if partners[_stem(name)] != name)
        raise UserError(
            f"{config.target_path} has both {twice} and {partners[_stem(twice)]}: which of them is"
            " the partner of an image of that name is not known, keep one"
        )
    alone = [name for name in names if _stem(name) not in partners]
    if alone and config.on_error == "raise":
        raise UserError(
            f"{len(alone)} of {len(names)} images in {config.path} have no partner of the same name"
            f" in {config.target_path}, the first is {alone[0]}: add them, or leave such files out"
            " with --config.data.on_error=skip"
        )
    if len(alone) == len(names):
        raise UserError(f"no file of {config.path} has its partner in {config.target_path}")
    return partners


def _classes(names: list[str]) -> list[str]:
    """Return the class names: the sub-folders, if every image is in one."""
    if not all("/" in name for name in names):
        return []
    return sorted({name.split("/")[0] for name in names})


def _stored_channels(root: Path, names: list[str], on_error: str) -> int:
    """Return the channels of the first image that can be read."""
    for name in names:
        try:
            return read_image(root / name).shape[-1]
        except UserError:
            if on_error == "raise":
                raise
    raise UserError(f"none of the {len(names)} images in {root} can be read")


def _read_each(names: list[str], read: Callable[[str], Arrays], on_error: str) -> dict[str, Arrays]:
    """Read all files; those that cannot be read are left out or raise, as `on_error` says."""

    def attempt(name: str) -> Arrays | UserError:
        try:
            return read(name)
        except UserError as error:
            return error

    examples = {}
    # Pillow decodes outside the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, result in zip(names, pool.map(attempt, names), strict=True):
            if not isinstance(result, UserError):
                examples[name] = result
            elif on_error == "raise":
                pool.shutdown(cancel_futures=True)
                raise result
    if not examples:
        raise UserError(f"none of the {len(names)} images can be read, the first is {names[0]}")
    return examples


def _by_hash(names: list[str], holdout: float) -> tuple[list[str], list[str]]:
    """Split names into (train, eval) by the hash of each, whatever the others are."""
    place = {name: hashlib.sha256(_stem(name).encode()).digest()[:8] for name in names}
    if holdout < 1:
        limit = int(max(holdout, 0) * 2**64).to_bytes(8, "big")
        held_out = {name for name in names if place[name] < limit}
    else:
        ordered = sorted(names, key=place.__getitem__)
        held_out = set(ordered[: holdout_size(len(names), holdout)])
    train = [name for name in names if name not in held_out]
    if not train or not held_out:
        raise UserError(
            f"data.holdout={holdout:g} splits {len(names)} images into {len(train)} to train and"
            f" {len(held_out)} to evaluate on: both need at least 1"
        )
    return train, [name for name in names if name in held_out]


def _file_split(
    names: list[str], read: Callable[[str], Arrays], examples: dict[str, Arrays]
) -> Split:
    if not examples:
        return Split(len(names), lambda i: read(names[i]))
    return array_split(stack([examples[name] for name in names]))
