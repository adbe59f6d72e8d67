"""Sample from a run, or transform images with it, into folders of PNG files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.files import written_whole
from gan_jax.core.images import grid, preprocess, read_image, save_png, to_uint8
from gan_jax.data.folders import Scan, scan
from gan_jax.data.image_files import damaged, map_files, range_notes
from gan_jax.library.outputs import SHEET, TABLE, check_output, clear, output_names
from gan_jax.library.run import Run, load


def sample(
    workdir: Path,
    output: Path,
    *,
    num: int,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    checkpoint: str = "",
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    change: bool = False,
) -> list[Path]:
    """Draw `num` images into `output`, one PNG each, and `.grid.png` with up to 100 of them.

    The grid is a hidden file, so that whatever reads the folder sees samples only.

    Args:
      workdir: the run's directory.
      output: folder, created if need be; it must be empty.
      num: number of images.
      seed: image i depends only on (seed, i) and its label.
      labels: class of each image, repeated to `num`; None lets a conditional model draw them.
      checkpoint: "latest", "best", a step, or "" as in `gan_jax.load`.
      overwrite: whether to delete images of an earlier call from `output` first.
      options: task options, as text.
      data, change: as in `gan_jax.load`.

    Returns:
      The files written, the grid first; `samples.csv` lists their seeds and classes.
    """
    check_output(output, overwrite=overwrite)
    run = load(workdir, checkpoint=checkpoint, data=data, change=change)
    images, classes = run.sample_labelled(num, seed=seed, labels=labels, **(options or {}))
    metadata = _metadata(run, seed)
    shown = min(num, 100)
    columns = int(np.ceil(np.sqrt(shown)))
    rows = -(-shown // columns)
    sheet = np.full((rows * columns, *images.shape[1:]), 1.0, np.float32)
    sheet[:shown] = images[:shown]
    picture = grid(sheet.reshape(rows, columns, *images.shape[1:]))
    clear(output, overwrite=overwrite)
    files = [output / SHEET]
    save_png(files[0], picture, metadata)
    table = []
    for i, image in enumerate(to_uint8(images)):
        about = {**metadata, "index": str(i)}
        if classes is not None:
            about |= {"label": str(classes[i]), "class": run.spec.class_names[classes[i]]}
        files.append(output / f"{i:06d}.png")
        save_png(files[-1], image, about)
        table.append({"file": files[-1].name, **about})
    _save_table(output / TABLE, table)
    return files


def _save_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a table as .csv with a header line."""
    with written_whole(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        table = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def interpolate(
    workdir: Path,
    output: Path,
    *,
    along: str,
    rows: int = 8,
    steps: int = 8,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    checkpoint: str = "",
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    change: bool = False,
) -> Path:
    """Draw interpolations between images into `output`/paths.png, one path per row.

    Args:
      workdir: the run's directory.
      output: folder, created if need be; it must be empty.
      along: "both", "latents" or "classes", as in `Run.interpolate`.
      rows: number of paths.
      steps: images per path.
      seed, labels: as in `sample`, whose images 2i and 2i + 1 are the ends of path i.
      checkpoint, overwrite: as in `sample`.
      options: task options, as text.
      data, change: as in `gan_jax.load`.

    Returns:
      The file written.
    """
    check_output(output, overwrite=overwrite)
    run = load(workdir, checkpoint=checkpoint, data=data, change=change)
    images = run.interpolate(
        rows, steps=steps, along=along, seed=seed, labels=labels, **(options or {})
    )
    clear(output, overwrite=overwrite)
    path = output / "paths.png"
    save_png(path, grid(images), {**_metadata(run, seed), "interpolate": along})
    return path


def transform(
    workdir: Path,
    source: Path,
    output: Path,
    *,
    name: str = "",
    labels: Sequence[int] | None = None,
    seed: int = 0,
    checkpoint: str = "",
    on_error: str = "raise",
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
) -> tuple[list[Path], list[str]]:
    """Transform every image in a folder, or one image, into a PNG of the same relative name.

    Images whose names differ only by the suffix keep it: a.jpg.png and a.png.png.
    `gan_jax.data.folders.scan` decides which files are images.

    Args:
      workdir: the run's directory.
      source: folder of images, or one image, of any size; preprocessed like the training images.
      output: folder, created if need be; it must be empty, and neither contain nor lie in `source`.
      name: name of the transform; "" is the task's first.
      labels: class that each result is to have, repeated; only for a transform that takes one.
      seed: seed for random draws of the task.
      checkpoint: as in `gan_jax.load`.
      on_error: for unreadable files: "raise", before anything is written, or "skip".
      overwrite: as in `sample`.
      options: task options, as text.

    Returns:
      (files written, lines for display: files left out and other remarks).
    """
    root = source.parent if source.is_file() else source
    found = Scan(root, (source.name,), {}) if source.is_file() else scan(source)
    if root == source and output.resolve().is_relative_to(root.resolve()):
        raise UserError(f"--output={output} is in the input folder {root}: name another")
    if root.resolve().is_relative_to(output.resolve()):  # --overwrite would delete the input
        raise UserError(f"--output={output} holds the input {source}: name another folder")
    check_output(output, overwrite=overwrite)
    run = load(workdir, checkpoint=checkpoint)
    channels = run.spec.streams[run.task.transform(name).source].shape[2]
    run.task.check_options(options or {})
    how = {**run.spec.preprocess, "channels": channels}
    white = how.get("white", 0)

    def read(file: str) -> np.ndarray:
        return preprocess(read_image(root / file, channels, white=white), how)

    images, bad = map_files(found.names, read)
    if bad and (on_error == "raise" or not images):
        raise damaged(bad, len(found.names))
    notes = found.notes() + range_notes(root, found.names, white)
    if bad:
        notes.append(f"{root}: left out {len(bad):,} (unreadable): {', '.join(bad)}")
    stacked = np.stack(list(images.values()))
    results = to_uint8(run.transform(stacked, name, labels=labels, seed=seed, **(options or {})))
    clear(output, overwrite=overwrite)
    files = []
    made = output_names(list(images))
    for file, image in zip(images, results, strict=True):
        files.append(output / made[file])
        save_png(files[-1], image, {**_metadata(run, seed), "source": file})
    return files, notes


def _metadata(run: Run, seed: int) -> dict[str, str]:
    return {"run": run.workdir.name, "step": str(run.step), "seed": str(seed)}
