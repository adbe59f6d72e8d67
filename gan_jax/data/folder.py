"""A folder of images, flat or with sub-folders for splits and classes; two folders form pairs."""

from __future__ import annotations

import dataclasses
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
    Domains,
    Split,
    array_split,
    fingerprint,
    holdout_size,
    how_to_preprocess,
    join_streams,
    stack,
    unpaired,
)
from gan_jax.data.folders import Scan, by_key, nfc, pair_key, scan, shortened
from gan_jax.data.image_files import damaged, map_files, range_notes, read_headers, widest
from gan_jax.data.layout import Layout, domain_names, lay_out


@dataclasses.dataclass(frozen=True)
class Files:
    """The image files of one domain, and how each becomes an example.

    Attributes:
      layout: their splits and classes.
      names: the readable files, in order.
      read: name -> example.
      examples: all examples by name if they fit in memory, else {}.
      streams: the streams of an example.
      how: options of `images.preprocess`.
      paths: every file that is read.
      notes: lines for display.
    """

    layout: Layout
    names: tuple[str, ...]
    read: Callable[[str], Arrays]
    examples: Mapping[str, Arrays]
    streams: Mapping[str, Stream]
    how: dict[str, object]
    paths: tuple[Path, ...]
    notes: tuple[str, ...]

    def split(self, names: Sequence[str]) -> Split:
        """Return the split of some of the files."""
        if not self.examples:
            return Split(len(names), lambda i: self.read(names[i]))
        return array_split(stack([self.examples[name] for name in names]))

    def inner_keys(self, names: Sequence[str]) -> dict[str, str]:
        """Return the pair key of each name within the folder of its split."""
        return {name: pair_key(self.layout.inner(name)) for name in names}


def open_folder(config: ConfigDict) -> Dataset:
    """Open the image folder `data.path`, with targets from `data.target_path` if that is set.

    `gan_jax.data.folders.scan` decides which files are images, `gan_jax.data.layout.lay_out` what
    the sub-folders are: splits, and classes in the order of `folders.class_order`. Split "eval" is
    the folder's own (val, valid, validation or eval), else its test split, under both names. In a
    folder with neither, images are held out by the SHA-256 of their pair key: both halves of a pair
    stay together, and if `data.holdout` is a fraction, a held-out image stays held out when images
    are added. If the hash selects no image (or all), 1 image is held out (or kept for training).
    With `data.channels=0` all images get the channels of the one that has most.

    With `data.halves` each file holds both halves of a pair, side by side. With `data.unpaired` the
    two folders are two domains, see `open_unpaired`.

    The fingerprint covers the names and sizes of the files. It covers splits and classes only if
    they differ from those that older versions, without these rules, would have used.

    Raises:
      UserError: no folder, no images, or (unless data.on_error=skip) files that have no partner or
        cannot be read.
    """
    if config.halves and config.target_path:
        raise UserError(
            f"data.halves={config.halves} with data.target_path={config.target_path}: both halves"
            " are in one file, or the other is in a folder of its own: leave one of them out"
        )
    if config.unpaired and not config.halves:
        return open_unpaired(config)
    root = Path(config.path)  # already expanded by `open_data`
    found = scan(root)
    layout = lay_out(found)
    names = [name for part in layout.splits.values() for name in part]
    targets, notes = find_partners(config, names) if config.target_path else ({}, [])
    files = open_files(config, found, layout, targets=targets, notes=notes)
    parts, more = split_names(layout, files.names, config.holdout)
    splits: dict[str, Split] = {}
    for key, part in parts.items():  # "eval" may be the same images as "test"
        same = key == "test" and part == parts["eval"]
        splits[key] = splits["eval"] if same else files.split(part)
    # The classes as versions before 2026-11-27 ordered them.
    before = tuple(map(nfc, sorted({name.split("/")[0] for name in files.names})))
    identity = _identity(config, files, parts)
    if not layout.official and layout.classes and layout.classes != before:
        identity.append(layout.classes)
    spec = DataSpec(
        name=root.absolute().name,
        streams=files.streams,
        num_classes=len(layout.classes),
        class_names=layout.classes,
        counts={k: len(s) for k, s in splits.items()},
        preprocess={**files.how, "skipped": len(names) - len(files.names)},
        fingerprint=fingerprint(identity),
        notes=(*files.notes, *(f"{root}: {line}" for line in more)),
    )
    dataset = Dataset(spec, splits)
    return unpaired(dataset, eval_pairs=config.eval_pairs) if config.unpaired else dataset


def open_unpaired(config: ConfigDict) -> Dataset:
    """Open two folders as two domains, "a" with stream "image" and "b" with stream "target".

    They are `data.path` and `data.target_path`, or sub-folders of `data.path`: trainA and trainB,
    testA and testB (or val, valid, validation, eval). Each is read as by `open_folder`; classes are
    those of the first. With `data.eval_pairs` the evaluation images are pairs with equal pair keys,
    and neither half is trained on.

    Raises:
      UserError: as `open_folder`; also no second domain, or evaluation images without a partner.
    """
    (first, first_layout), (second, second_layout) = _two_domains(config)
    a = open_files(config, first, first_layout)
    b = open_files(config, second, second_layout, stream="target")
    parts_a, more = split_names(a.layout, a.names, config.holdout)
    parts_b, others = split_names(b.layout, b.names, config.holdout)
    notes = [*(f"{first.root}: {x}" for x in more), *(f"{second.root}: {x}" for x in others)]
    if config.eval_pairs:
        parts_a, parts_b, more = _paired_to_evaluate(config, (a, parts_a), (b, parts_b))
        notes += more
    if odd := parts_a.keys() ^ parts_b.keys():
        notes.append(f"split {', '.join(sorted(odd))} is left out: only one of the domains has it")
    splits: dict[str, Split | Domains] = {}
    counts: dict[str, int] = {}
    for key in parts_a.keys() & parts_b.keys():
        halves = {"a": a.split(parts_a[key]), "b": b.split(parts_b[key])}
        paired = config.eval_pairs and key != "train"
        splits[key] = join_streams(*halves.values()) if paired else Domains(halves)
        counts |= {key: len(splits[key]), **{f"{key} {d}": len(x) for d, x in halves.items()}}
    streams = {name: dataclasses.replace(x, domain="a") for name, x in a.streams.items()}
    streams["target"] = dataclasses.replace(b.streams["target"], domain="b")
    identity = [_identity(config, a, parts_a), _identity(config, b, parts_b), config.eval_pairs]
    names = [side.root.absolute().name for side in (first, second)]
    spec = DataSpec(
        name="-".join(dict.fromkeys(names)),
        streams=streams,
        num_classes=len(a.layout.classes),
        class_names=a.layout.classes,
        counts=counts,
        preprocess={**a.how, "skipped": len(first.names) - len(a.names)},
        fingerprint=fingerprint(identity),
        notes=(*a.notes, *b.notes, *notes),
        eval_pairs=config.eval_pairs,
    )
    return Dataset(spec, splits)


def _two_domains(config: ConfigDict) -> list[tuple[Scan, Layout]]:
    """Return folder and layout of both domains."""
    found = scan(Path(config.path))
    if config.target_path:
        both = (found, scan(Path(config.target_path)))
        return [(side, lay_out(side)) for side in both]
    sides = [dataclasses.replace(found, names=domain_names(found.names, d)) for d in "ab"]
    if not all(side.names for side in sides):
        raise UserError(
            f"data.unpaired=true with {config.path}: name the second folder with"
            " --config.data.target_path=DIR, or a folder with trainA and trainB in it"
        )
    sides[1] = dataclasses.replace(sides[1], left_out={})  # reported once, for the first
    return [(side, lay_out(side, d)) for side, d in zip(sides, "ab", strict=True)]


def _paired_to_evaluate(
    config: ConfigDict,
    a: tuple[Files, Mapping[str, tuple[str, ...]]],
    b: tuple[Files, Mapping[str, tuple[str, ...]]],
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]], list[str]]:
    """Return names by split for both domains, paired except for training, and notes."""
    (files, parts), (others, other_parts) = a, b
    official = others.layout.official
    first, second = {"train": parts["train"]}, {}
    notes: list[str] = []
    for key in [key for key in parts if key != "train"]:
        candidates = other_parts.get(key, ()) if official else others.names
        there = {k: name for name, k in others.inner_keys(candidates).items()}
        keys = files.inner_keys(parts[key])
        alone = [name for name in parts[key] if keys[name] not in there]
        if alone and (config.on_error == "raise" or len(alone) == len(keys)):
            raise UserError(
                f"data.eval_pairs=true: {len(alone):,} of the {len(keys):,} images of split {key}"
                f" have no partner of the same name in the other domain, the first is {alone[0]}:"
                " add them, or leave such out with --config.data.on_error=skip"
            )
        if alone:
            notes.append(f"split {key}: left out {len(alone):,} (no partner): {shortened(alone)}")
        first[key] = tuple(name for name in parts[key] if keys[name] in there)
        second[key] = tuple(there[keys[name]] for name in first[key])
    held_out = {name for part in second.values() for name in part}
    rest = other_parts["train"] if official else others.names
    second["train"] = tuple(name for name in rest if name not in held_out)
    if not second["train"]:
        raise UserError(f"data.eval_pairs=true leaves none of {len(rest):,} images to train on")
    return first, second, notes


def open_files(
    config: ConfigDict,
    found: Scan,
    layout: Layout,
    *,
    stream: str = "image",
    targets: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Files:
    """Read the files of a folder, or only their headers if they do not fit in memory.

    Args:
      config: the section "data".
      found: the folder.
      layout: layout of the folder.
      stream: name of the stream of its images.
      targets: name -> name of its partner under `data.target_path`; names without one are left out.
      notes: notes so far, to which more are added.
    """
    root, other, white = found.root, Path(config.target_path), config.white
    notes = [*found.notes(), *layout.notes, *notes]
    names = [name for part in layout.splits.values() for name in part]
    if targets:
        names = [name for name in names if name in targets]
    channels, more = _channels(config, root, names)
    notes += more + range_notes(root, names, white)
    partners = [targets[name] for name in names] if targets else []
    target_channels = channels if config.halves else 0
    if targets:
        target_channels, more = _channels(config, other, partners)
        notes += more + range_notes(other, partners, white)
    how = how_to_preprocess(config, channels)
    if white:
        how["white"] = white

    def read(name: str) -> Arrays:
        image, target = read_image(root / name, white=white), None
        if targets:
            target = read_image(other / targets[name], white=white)
        elif config.halves:
            image, target = _halves(root / name, image, config.halves)
        example = {stream: preprocess(image, how)}
        if target is not None:
            example["target"] = preprocess(target, {**how, "channels": target_channels})
        if layout.classes and stream == "image":
            example["label"] = np.int32(layout.label(name))
        return example

    pixels = len(names) * config.size[0] * config.size[1]
    gib = pixels * (channels + target_channels) / 2**30
    in_memory = gib <= config.memory_gib
    examples: dict[str, Arrays] | dict[str, int] = {}
    if in_memory or config.on_error == "skip":
        # Report damaged files now, before anything is written; a folder that does not fit in memory
        # reports them when they are read, unless they are to be skipped.
        examples, bad = map_files(names, read if in_memory else lambda n: len(read(n)))
        if bad and (config.on_error == "raise" or not examples):
            raise damaged(bad, len(names))
        if bad:
            notes.append(f"{root}: left out {len(bad):,} (unreadable): {shortened(list(bad))}")
        names = list(examples)
        if not in_memory:
            examples = {}
    streams = {stream: Stream((*config.size, channels), "float32", "image")}
    if target_channels:
        streams["target"] = Stream((*config.size, target_channels), "float32", "image")
    if layout.classes and stream == "image":
        streams["label"] = Stream((), "int32", "label")
    paths = [root / name for name in names]
    paths += [other / targets[name] for name in names] if targets else []
    given = (layout, tuple(names), read, examples, streams, how, tuple(paths), tuple(notes))
    return Files(*given)


def _halves(path: Path, image: np.ndarray, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (image, target) from a file with both side by side, each half its width."""
    width = image.shape[1]
    if width % 2:
        raise UserError(
            f"{path} is {width} px wide, an odd number, and data.halves={order} cuts it in two"
        )
    left, right = image[:, : width // 2], image[:, width // 2 :]
    return (left, right) if order == "ab" else (right, left)


def _identity(config: ConfigDict, files: Files, parts: Mapping[str, Sequence[str]]) -> list[object]:
    """Return what the fingerprint is computed from.

    Later additions enter only if used, so that the fingerprints of older runs stay the same.
    """
    sizes = [path.stat().st_size for path in files.paths]
    target = files.streams.get("target")
    channels = 0 if target is None else target.shape[2]
    identity = [list(map(nfc, files.names)), sizes, files.how, channels, config.holdout]
    if files.layout.official:
        identity.append({key: len(part) for key, part in parts.items()})
    if config.halves:
        identity.append(config.halves)
    return identity


def find_partners(config: ConfigDict, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the partner under `target_path` of each name that has one, and notes."""
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
    """Return `data.channels`, or for 0 the largest number of channels of an image, and notes."""
    if config.channels:
        return config.channels, []
    headers = read_headers(root, names, config.on_error)
    return widest(root, headers)


def split_names(
    layout: Layout, names: Sequence[str], holdout: float
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the readable names by split, and notes."""
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
    """Split names into (train, eval) by the hash of their keys.

    With a fraction, whether a name is held out does not depend on the other names.

    Returns:
      (train, eval, "" or a note on what was done because there are too few names).
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
