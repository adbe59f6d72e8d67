"""Transform image files with a run, or classify them, one after the other.

Files that cannot be read are named and left out, and the others are done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.images import preprocess, read_header, read_image, resize_image, to_channels
from gan_jax.core.photos import (
    FORMATS,
    Photo,
    photo_format,
    read_photo,
    resize_plane,
    to_levels,
    write_photo,
)
from gan_jax.data.folders import OTHERS, SUFFIXES, Scan, by_key, pair_key, scan, shortened
from gan_jax.data.image_files import damaged, map_files, range_notes
from gan_jax.library.generate import origin, save_table
from gan_jax.library.outputs import check_file, check_output, clear, compared_names, output_names
from gan_jax.library.run import Run, load
from gan_jax.library.transforms import Changer, make_changer

TOP = 5  # classes of an image in a table of predictions
BATCH = 64  # images that are classified at a time
GAP = 8  # white between the images of a comparison [px]


class Report(Protocol):
    """How far a call is: called with the images done, which may be a fraction, out of `total`."""

    def __call__(self, done: float, total: int) -> None: ...


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of the files of a call.

    Attributes:
      files: the files written, one for each image.
      bad: errors of the images that are left out, by name.
      notes: remarks for display.
    """

    files: list[Path]
    bad: dict[str, UserError]
    notes: list[str]


def _inputs(source: Path) -> Scan:
    """Return the images of --input: those of a folder, or one file of its folder."""
    return Scan(source.parent, (source.name,), {}) if source.is_file() else scan(source)


def transform(
    workdir: Path,
    source: Path,
    output: Path,
    *,
    name: str = "",
    labels: Sequence[int] | None = None,
    mask: Path | None = None,
    size: tuple[int, int] | None = None,
    tile: str | None = None,
    bits: int = 8,
    compare: bool = False,
    target: Path | None = None,
    seed: int = 0,
    checkpoint: str = "",
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
    report: Report | None = None,
) -> Done:
    """Transform every image in a folder, or one image, each at its own size.

    The results of a folder are PNG files of the same relative names. Images whose names differ only
    by the suffix keep it: a.jpg.png and a.png.png. `gan_jax.data.folders.scan` decides which files
    are images. Results are upright, and keep the ICC profile; transparency is kept beside networks
    of grey or colour images, resized by Pillow's bicubic filter.

    Args:
      workdir: the run's directory.
      source: folder of images, or one image.
      output: folder, created if need be; it must be empty, and neither contain nor lie in `source`.
        For one image also a file: PNG, JPEG, WebP or TIFF by its suffix.
      name: name of the transform; "" is the task's first.
      labels: class that each result is to have, repeated; only for a transform that takes one.
      mask: for a transform that fills in pixels: an image, white where they are, of the size of the
        input; or a folder with one for each image, by its pair key.
      size, tile: as in `Run.transform`.
      bits: 16 keeps the depth of 16-bit files, and writes 16 bits (PNG, TIFF).
      compare: whether to write input and result, side by side, beside each result.
      target: folder with images to add to the comparison, by their pair keys.
      seed: seed for random draws of the task.
      checkpoint: as in `gan_jax.load`.
      overwrite: whether to delete images of an earlier call from the folder, or to replace the
        file.
      options: task options, as text.
      report: called as the work goes on.

    Raises:
      UserError: arguments that do not fit, before anything is written; or no image can be read.
    """
    found, single = _inputs(source), source.is_file()
    as_file = single and _names_a_file(output)
    if target is not None and not compare:
        raise UserError(f"--target={target} is for comparisons: add --compare")
    if as_file:
        photo_format(output, bits)
        if output.resolve() == source.resolve():
            raise UserError(f"--output={output} is the input: name another file")
        check_file(output, overwrite=overwrite)
        made = {source.name: output.name}
    else:
        _check_apart(found.root, source, output)
        check_output(output, overwrite=overwrite)
        made = output_names(found.names)
    folder = output.parent if as_file else output
    compared = {}
    if compare:
        compared = compared_names(made)
        if as_file:
            check_file(folder / compared[source.name], overwrite=overwrite)
    run = load(workdir, checkpoint=checkpoint)
    chosen = dict(labels=labels, size=size, tile=tile, seed=seed, options=options)
    changer = make_changer(run, name, **chosen)
    changer.check_mask(mask is not None)
    if bits == 16 and changer.size is not None:
        raise UserError(
            "--bits=16: images that are resized first, here to"
            f" {changer.size[0]}x{changer.size[1]} px, are read with 8 bits: leave it out"
        )
    masks = _beside(found, mask, "--mask", found.names) if mask is not None else {}
    targets = _beside(found, target, "--target", ()) if target is not None else {}
    _check_mask_sizes(found, masks)

    files: list[Path] = []
    bad: dict[str, UserError] = {}
    coloured = flattened = 0
    white = run.spec.preprocess.get("white", 0)
    how = dict(bits=bits, white=white, flat=changer.transform.multiple is None)
    channels, total = changer.shape[2], len(found.names)
    for index, key in enumerate(found.names):
        try:
            photo = read_photo(found.root / key, channels, **how)
            hidden = _read_mask(masks[key]) if masks else None
            advance = None if report is None else lambda part, i=index: report(i + part, total)
            result = _change(changer, photo, hidden, index, bits, advance)
        except UserError as error:
            if single:
                raise
            bad[key] = error
            continue
        finally:
            if report is not None:
                report(index + 1, total)
        if not files and not as_file:
            clear(output, overwrite=overwrite)
        files.append(folder / made[key])
        write_photo(files[-1], result, {**origin(run, seed), "source": key})
        if compare:
            panels = [_shown(photo, hidden), result]
            if key in targets:
                panels.append(Photo(read_image(targets[key], 3)))
            sheet = _side_by_side([panel.pixels for panel in panels], result.pixels.shape[:2])
            text = {**origin(run, seed), "source": key}
            write_photo(folder / compared[key], Photo(sheet), text)
        coloured += photo.coloured and channels == 1
        flattened += result.alpha is not None and FORMATS[files[-1].suffix.lower()] == "JPEG"
    if not files:
        raise damaged(bad, total)
    notes = found.notes() + range_notes(found.root, found.names, white)
    if coloured:
        notes.append(f"{coloured:,} colour images were converted to grey, as in training")
    if flattened:
        notes.append("JPEG has no transparency: the image lies on white")
    if target is not None and (alone := [key for key in found.names if key not in targets]):
        notes.append(f"{target} has no target of {len(alone):,}: {shortened(alone)}")
    return Done(files, bad, notes)


def _change(
    changer: Changer,
    photo: Photo,
    mask: np.ndarray | None,
    index: int,
    bits: int,
    advance: Callable[[float], None] | None,
) -> Photo:
    """Return the result for a photo, with its transparency."""
    ready = changer.prepare(photo.pixels, mask)
    made = changer.one(ready, index, finish=lambda x: to_levels(x, bits), advance=advance)
    alpha = photo.alpha if made.shape[2] < 4 else None
    if alpha is not None:
        if changer.size is not None:
            fit = {k: changer.run.spec.preprocess[k] for k in ("resize", "fit")}
            alpha = resize_image(alpha[..., None], changer.size, **fit)[..., 0]
        alpha = resize_plane(alpha, made.shape[:2])
        if alpha.dtype != made.dtype:
            alpha = alpha.astype(made.dtype) * 257  # 8 to 16 bits
    return Photo(made, alpha, photo.icc, photo.coloured)


def _shown(photo: Photo, mask: np.ndarray | None) -> Photo:
    """Return an input as a comparison shows it: pixels to fill in are grey."""
    if mask is None:
        return photo
    middle = np.iinfo(photo.pixels.dtype).max // 2
    return Photo(np.where(mask[..., None], middle, photo.pixels).astype(photo.pixels.dtype))


def _side_by_side(panels: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return images, resized to (height, width), in a row: uint8 [H, W', 3]."""
    columns: list[np.ndarray] = []
    for panel in panels:
        if panel.dtype == np.uint16:
            panel = ((panel.astype(np.uint32) + 128) // 257).astype(np.uint8)
        columns += [np.full((size[0], GAP, 3), 255, np.uint8)] if columns else []
        columns.append(resize_image(to_channels(panel, 3), size))
    return np.concatenate(columns, 1)


def _names_a_file(output: Path) -> bool:
    return not output.is_dir() and output.suffix.lower() in (*SUFFIXES, *OTHERS)


def _check_apart(root: Path, source: Path, output: Path) -> None:
    if root == source and output.resolve().is_relative_to(root.resolve()):
        raise UserError(f"--output={output} is in the input folder {root}: name another")
    if root.resolve().is_relative_to(output.resolve()):  # --overwrite would delete the input
        raise UserError(f"--output={output} holds the input {source}: name another folder")


def _beside(found: Scan, where: Path, flag: str, needed: Sequence[str]) -> dict[str, Path]:
    """Return the file of each image in --mask or --target: a file, or by pair key in a folder.

    Raises:
      UserError: there is none for one of `needed`.
    """
    if where.is_file():
        if len(found.names) > 1:
            raise UserError(f"{flag}={where} is one file and the input a folder: name a folder")
        return {found.names[0]: where}
    there = by_key(where, scan(where).names)
    files = {k: where / there[pair_key(k)] for k in found.names if pair_key(k) in there}
    if missing := [key for key in needed if key not in files]:
        raise UserError(
            f"{flag}={where} has no file for {len(missing):,} images ({shortened(missing)}): one"
            " of the same relative name for each, whatever its suffix"
        )
    return files


def _check_mask_sizes(found: Scan, masks: Mapping[str, Path]) -> None:
    for key, path in masks.items():
        try:
            image = read_header(found.root / key)
        except UserError:
            continue  # it is left out later
        mask = read_header(path)
        if (mask.height, mask.width) != (image.height, image.width):
            raise UserError(
                f"--mask: {path} has {mask.height}x{mask.width} px, and {found.root / key}"
                f" {image.height}x{image.width}: masks have the size of their image"
            )


def _read_mask(path: Path) -> np.ndarray:
    return read_image(path, 1)[..., 0] >= 128


def predict(
    workdir: Path,
    source: Path,
    output: Path,
    *,
    checkpoint: str = "",
    overwrite: bool = False,
    report: Report | None = None,
) -> Done:
    """Classify every image in a folder, or one image, into a table (.csv).

    Columns: file; class and probability of the five most probable classes, by name, the first as
    "class" and "probability", then "class_2", ...; or the predicted values in the target's unit.

    Args:
      workdir: the run's directory.
      source: folder of images, or one image, of any size; preprocessed like the training images.
      output: the file to write.
      checkpoint: as in `gan_jax.load`.
      overwrite: whether to replace it.
      report: called as the work goes on.

    Raises:
      UserError: the task does not predict, or no image can be read.
    """
    found = _inputs(source)
    check_file(output, overwrite=overwrite)
    run = load(workdir, checkpoint=checkpoint)
    predictor = run.task.require("predict")
    shape = run.spec.streams[run.task.stream].shape
    how = {**run.spec.preprocess, "size": shape[:2], "channels": shape[2]}
    white = how.get("white", 0)

    def read(name: str) -> np.ndarray:
        return preprocess(read_image(found.root / name, shape[2], white=white), how)

    bad: dict[str, UserError] = {}
    rows: list[dict[str, Any]] = []
    total = len(found.names)
    for start in range(0, total, BATCH):
        images, failed = map_files(found.names[start : start + BATCH], read)
        bad |= failed
        if images:
            made = run.predict(np.stack(list(images.values())), batch_size=BATCH)
            for name, values in zip(images, made, strict=True):
                rows.append({"file": name, **_answer(run, predictor.probabilities, values)})
        if report is not None:
            report(min(start + BATCH, total), total)
    if not rows:
        raise damaged(bad, total)
    save_table(output, rows)
    return Done([output], bad, found.notes() + range_notes(found.root, found.names, white))


def _answer(run: Run, probabilities: bool, values: np.ndarray) -> dict[str, Any]:
    """Return the cells of an image."""
    names = run.task.predict.names
    if not probabilities:
        return {name: f"{value:.6g}" for name, value in zip(names, values, strict=True)}
    cells = {}
    for place, k in enumerate(np.argsort(-values, kind="stable")[:TOP], 1):
        mark = "" if place == 1 else f"_{place}"
        cells |= {f"class{mark}": names[k], f"probability{mark}": f"{values[k]:.6f}"}
    return cells
