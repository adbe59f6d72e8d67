"""Sampling and transforming from a run's directory into folders of PNG files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gan_jax.errors import UserError
from gan_jax.images import grid, list_images, preprocess, read_image, save_png, to_uint8
from gan_jax.run import Run, load


def sample(
    workdir: Path,
    output: Path,
    *,
    num: int,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    checkpoint: str = "",
    options: Mapping[str, str] | None = None,
) -> list[Path]:
    """Draw `num` images into `output`, one PNG each, and `grid.png` with up to 100 of them.

    Args:
      workdir: the run.
      output: folder, created if need be.
      num: how many.
      seed: image i depends on (seed, i) and its label only.
      labels: class of each image, repeated to `num`; None lets a conditional model draw them.
      checkpoint: "latest", "best", a step, or "" as in `gan_jax.load`.
      options: of the task, as text.

    Returns:
      The files written, the grid first.
    """
    _check_output(output)
    run = load(workdir, checkpoint=checkpoint)
    images = run.sample(num, seed=seed, labels=labels, **(options or {}))
    metadata = _metadata(run, seed)
    shown = min(num, 100)
    columns = int(np.ceil(np.sqrt(shown)))
    rows = -(-shown // columns)
    sheet = np.full((rows * columns, *images.shape[1:]), 1.0, np.float32)
    sheet[:shown] = images[:shown]
    picture = grid(sheet.reshape(rows, columns, *images.shape[1:]))
    files = [output / "grid.png"]
    save_png(files[0], picture, metadata)
    for i, image in enumerate(to_uint8(images)):
        about = {**metadata, "index": str(i)}
        if labels is not None:
            about["label"] = str(labels[i % len(labels)])
        files.append(output / f"{i:06d}.png")
        save_png(files[-1], image, about)
    return files


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
    options: Mapping[str, str] | None = None,
) -> Path:
    """Draw paths between images into `output`/paths.png, a row a path.

    Args:
      workdir: the run.
      output: folder, created if need be.
      along: "both", "latents" or "classes", as of `Run.interpolate`.
      rows: how many paths.
      steps: images a path.
      seed, labels: as of `sample`, whose images 2i and 2i + 1 are the ends of path i.
      checkpoint: as of `sample`.
      options: of the task, as text.

    Returns:
      The file written.
    """
    _check_output(output)
    run = load(workdir, checkpoint=checkpoint)
    images = run.interpolate(
        rows, steps=steps, along=along, seed=seed, labels=labels, **(options or {})
    )
    path = output / "paths.png"
    save_png(path, grid(images), {**_metadata(run, seed), "interpolate": along})
    return path


def transform(
    workdir: Path,
    source: Path,
    output: Path,
    *,
    seed: int = 0,
    checkpoint: str = "",
    on_error: str = "raise",
    options: Mapping[str, str] | None = None,
) -> tuple[list[Path], list[str]]:
    """Transform every image of a folder into a PNG of the same relative name.

    Where two images differ by their suffix only, theirs stay: a.jpg.png and a.png.png.

    Args:
      workdir: the run.
      source: folder of images, of any size; treated as the training images were.
      output: folder, created if need be; must not be `source` or in it.
      seed: of whatever the task draws for an image.
      checkpoint: as in `gan_jax.load`.
      on_error: "raise" at a file that cannot be read, before anything is written; or "skip".
      options: of the task, as text.

    Returns:
      (files written, names skipped).
    """
    names = list_images(source)
    if output.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--output={output} is in the input folder {source}: name another")
    _check_output(output)
    run = load(workdir, checkpoint=checkpoint)
    run.task.require("transform")
    run.task.check_options(options or {})
    images, kept, skipped = [], [], []
    for name in names:
        try:
            stored = read_image(source / name, run.spec.image_shape[2])
        except UserError:
            if on_error == "raise":
                raise
            skipped.append(name)
            continue
        images.append(preprocess(stored, run.spec.preprocess))
        kept.append(name)
    if not images:
        raise UserError(f"none of the {len(names)} images in {source} can be read")
    results = to_uint8(run.transform(np.stack(images), seed=seed, **(options or {})))
    files = []
    stems = Counter(Path(name).with_suffix("") for name in kept)
    for name, image in zip(kept, results, strict=True):
        stem = Path(name).with_suffix("")
        files.append(output / (f"{stem}.png" if stems[stem] == 1 else f"{name}.png"))
        save_png(files[-1], image, {**_metadata(run, seed), "source": name})
    return files, skipped


def _check_output(output: Path) -> None:
    """Raise UserError unless a folder is there, or could be made: before the work, not after."""
    there = output.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UserError(f"--output={output}: {there} is a file, name a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"--output={output}: {there} cannot be written, name another folder")


def _metadata(run: Run, seed: int) -> dict[str, str]:
    return {"run": run.workdir.name, "step": str(run.step), "seed": str(seed)}
