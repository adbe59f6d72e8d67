"""Sample from a run into folders of PNG files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gan_jax.core.files import written_whole
from gan_jax.core.images import grid, save_png, to_uint8
from gan_jax.library.outputs import SHEET, TABLE, check_output, clear
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
    metadata = origin(run, seed)
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
    save_table(output / TABLE, table)
    return files


def save_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
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
    save_png(path, grid(images), {**origin(run, seed), "interpolate": along})
    return path


def origin(run: Run, seed: int) -> dict[str, str]:
    """Return the text chunks of each PNG that a run makes."""
    return {"run": run.workdir.name, "step": str(run.step), "seed": str(seed)}
