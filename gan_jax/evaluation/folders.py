"""Evaluation of one folder of images against another, without a run or a data set."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.images import Header, read_header, read_image, to_float
from gan_jax.data.dataset import fingerprint
from gan_jax.data.folders import by_key, class_of, scan, sub_folders
from gan_jax.data.image_files import damaged, map_files, range_notes, widest
from gan_jax.data.pipeline import prefetch
from gan_jax.evaluation.image_statistics import IMAGES, LABELS, MOMENTS, ImageStatistics, collect
from gan_jax.evaluation.measurement import load_or_compute
from gan_jax.evaluation.measures import MEASURES, Measure
from gan_jax.evaluation.passes import FeatureProbe
from gan_jax.evaluation.protocol import (
    Measured,
    Request,
    check_numbers,
    check_used,
    choose_extractor,
    compute,
    needs_of,
)
from gan_jax.metrics.statistics import read_statistics
from gan_jax.parallel.mesh import Parallel, make_parallel
from gan_jax.platform.logs import quiet_libraries

BATCH = 64  # images per forward pass of the feature network


@dataclasses.dataclass(frozen=True)
class _Folder:
    """Images of a folder, all of one size.

    Attributes:
      root: the folder.
      names: file names, sorted by the SHA-256 of their content, so that names do not matter.
      digests: SHA-256 of each file.
      size: (height, width) [px].
      channels: 1 or 3, after conversion.
      there: number of images in the folder, before `num` of them are chosen.
    """

    root: Path
    names: tuple[str, ...]
    digests: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    there: int

    @functools.cached_property
    def classes(self) -> list[str]:
        """Names of the sub-folders, if every image is in one."""
        return sub_folders(self.names)

    def read(self, name: str) -> np.ndarray:
        """Return an image, uint8 [*size, channels]."""
        image = read_image(self.root / name, self.channels)
        if image.shape[:2] != self.size:
            raise UserError(
                f"{self.root / name} is {_size(image.shape)}, and its header says"
                f" {_size(self.size)}: save it again"
            )
        return image

    def first(self, num: int) -> _Folder:
        """Return the folder restricted to its first `num` images in order of SHA-256; 0: all."""
        names, digests = self.names[: num or None], self.digests[: num or None]
        return dataclasses.replace(self, names=names, digests=digests)


def evaluate_folders(real: Path, fake: Path, request: Request) -> Measured:
    """Evaluate a folder of images against a reference.

    `gan_jax.data.folders.scan` decides which files are images. They are processed in the order of
    their SHA-256, so that renaming files changes the results by rounding at most.

    Args:
      real: the reference: a folder, or an .npz file of statistics (for metrics that need only the
        moments of the real images).
      fake: the folder to evaluate. Its images may differ in size from the real ones, except for
        metrics of image pairs and of pixels.
      request: the metrics; pair metrics match files by `folders.pair_key`. `num` images of each
        folder are used, chosen by their SHA-256; 0 for all.

    Raises:
      UserError: for a missing folder, images of different sizes, too few images, or statistics of
        another feature network.
    """
    quiet_libraries()
    measures = _check_names(request.metrics)
    check_used(request)
    real_needs, fake_needs = needs_of(measures.values())
    pairs = [
        measure.pair(request.vgg, request.heads) for measure in measures.values() if measure.pair
    ]
    statistics = real.suffix == ".npz" and not real.is_dir()
    if statistics and (pairs or real_needs - {MOMENTS}):
        able = [n for n, m in MEASURES.items() if not m.pair and set(m.real) <= {MOMENTS}]
        raise UserError(
            f"--real={real} holds statistics, enough for {', '.join(able)} only: give the folder of"
            " the real images"
        )
    fakes, notes = _open(fake, request.num)
    reals = None
    if not statistics:
        reals, more = _open(real, request.num)
        notes = more + notes
        channels = max(reals.channels, fakes.channels)
        if reals.channels != fakes.channels:
            notes.append(f"only one of {real} and {fake} has colours: both are read as RGB")
        reals, fakes = (dataclasses.replace(f, channels=channels) for f in (reals, fakes))
        _check_sizes(measures, reals, fakes)
    partners = _partners(reals, fakes) if pairs else {}
    chosen = any(0 < request.num < folder.there for folder in (reals, fakes) if folder)
    fakes = fakes.first(request.num)
    reals = reals and reals.first(request.num)
    there = len(reals.names) if reals else len(fakes.names)
    check_numbers(measures, there, len(fakes.names), "that is all there are")
    for name in (n for n, measure in measures.items() if LABELS in measure.real):
        _check_classes(name, reals, fakes)
    needs_network = any(measure.needs_network for measure in measures.values())
    extractor = choose_extractor(request, fakes.channels) if needs_network else None
    parallel, about = make_parallel(), {}
    reference, numbers = ImageStatistics(), (there, len(fakes.names))
    if statistics:
        reference.moments = read_statistics(
            real,
            protocol=extractor.name,
            dimensions=extractor.dimensions,
            weights=extractor.fingerprint,
        )
        numbers = (reference.moments.count or numbers[1], numbers[1])
    elif real_needs:
        names = fingerprint(_identity(reals))
        about = {"data": names}
        probe = FeatureProbe(extractor, real_needs)
        make = lambda: _collect_folder(reals, probe, parallel)  # noqa: E731
        reference = load_or_compute(reals.root.name, names, there, extractor, real_needs, make)
    probe = FeatureProbe(extractor, fake_needs, pairs)
    target = (lambda name: reals.read(partners[name])) if pairs else None
    made = _collect_folder(fakes, probe, parallel, target)
    measured = compute(
        measures,
        reference,
        made,
        extractor=extractor,
        split=real.stem if statistics else real.resolve().name,
        numbers=numbers,
        suffix=["chosen=content"] if chosen else [],
        about=about,
    )
    measured.notes += notes
    return measured


def _check_names(names: tuple[str, ...]) -> dict[str, Measure]:
    for name in names:
        if name not in MEASURES:
            raise UserError(
                f"--metrics={name} is no metric of two folders{did_you_mean(name, MEASURES)}: one"
                f" of {', '.join(MEASURES)}"
            )
    return {name: MEASURES[name] for name in names}


def _open(root: Path, num: int) -> tuple[_Folder, list[str]]:
    """Return a folder with all of its images, and notes for the user."""
    found = scan(root)
    if num > len(found.names):
        raise UserError(f"--num={num}: {root} holds {len(found.names)} images")

    def inspect(name: str) -> tuple[str, Header]:
        header = read_header(root / name)
        with (root / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), header

    inspected, bad = map_files(found.names, inspect)
    if bad:
        raise damaged(bad, len(found.names))
    stored = {name: header for name, (_, header) in inspected.items()}
    clear = [name for name, header in stored.items() if header.channels == 4]
    headers = {n: dataclasses.replace(h, channels=min(h.channels, 3)) for n, h in stored.items()}
    channels, notes = widest(root, headers)
    if clear:
        notes.append(f"{root}: {len(clear):,} RGBA images are read as RGB on white ({clear[0]})")
    sizes: dict[tuple[int, int], list[str]] = {}
    for name, header in headers.items():
        sizes.setdefault((header.height, header.width), []).append(name)
    if len(sizes) > 1:
        there = sorted(sizes.items(), key=lambda item: (-len(item[1]), item[0]))
        each = ", ".join(f"{len(n):,} of {_size(size)} ({n[0]})" for size, n in there[:3])
        raise UserError(
            f"{root} has images of {len(sizes):,} sizes, {each}: metrics compare images of one"
            " size, resize them first"
        )
    notes = found.notes() + notes + range_notes(root, found.names)
    names = tuple(sorted(found.names, key=lambda name: (inspected[name][0], name)))
    digests = tuple(inspected[name][0] for name in names)
    return _Folder(root, names, digests, next(iter(sizes)), channels, len(names)), notes


def _check_sizes(measures: Mapping[str, Measure], reals: _Folder, fakes: _Folder) -> None:
    """Raise UserError if a metric compares pixels and the folders differ in image size."""
    names = [name for name, m in measures.items() if m.pair or IMAGES in m.real]
    if names and reals.size != fakes.size:
        raise UserError(
            f"{reals.root} has images of {_size(reals.size)} and {fakes.root} of"
            f" {_size(fakes.size)}: {', '.join(names)} compare images of one size, resize them"
            " first"
        )


def _partners(reals: _Folder, fakes: _Folder) -> dict[str, str]:
    """Return the real image paired with each generated one; UserError unless one to one."""
    real, fake = (by_key(folder.root, folder.names) for folder in (reals, fakes))
    if odd := sorted(real.keys() ^ fake.keys()):
        raise UserError(
            f"{len(odd)} images of {reals.root} and {fakes.root} have no partner of the same name"
            f" in the other, the first is {odd[0]}: psnr, ssim and the like compare pairs"
        )
    return {name: real[key] for key, name in fake.items()}


def _check_classes(metric: str, reals: _Folder, fakes: _Folder) -> None:
    for flag, folder in (("real", reals), ("fake", fakes)):
        if not folder.classes:
            raise UserError(
                f"--metrics={metric}: the images of --{flag}={folder.root} have no classes: put"
                " those of each class into a sub-folder, of the same name on both sides"
            )
    if odd := sorted(set(reals.classes) ^ set(fakes.classes)):
        raise UserError(
            f"--metrics={metric}: {reals.root} and {fakes.root} have unlike classes, the first that"
            f" only one of them has is {odd[0]!r}: give both the same sub-folders"
        )


def _collect_folder(
    folder: _Folder,
    probe: FeatureProbe,
    parallel: Parallel,
    target: Callable[[str], np.ndarray] | None = None,
) -> ImageStatistics:
    """Collect a folder's statistics in one pass; `target` reads the target of an image."""

    def rows(variables: Any, batch: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
        return probe(variables, batch["image"], batch.get("target"))

    step, variables = parallel.compile_map(rows), parallel.place_whole(probe.variables)
    size = parallel.round_up(min(BATCH, len(folder.names)))
    local = size // jax.process_count()

    def batches() -> Iterator[dict[str, np.ndarray]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(folder.names), size):
                mine = start + jax.process_index() * local
                place = np.minimum(np.arange(mine, mine + local), len(folder.names) - 1)
                names = [folder.names[i] for i in place]
                batch = {"image": _stack(pool, folder.read, names)}
                if target is not None:
                    batch["target"] = _stack(pool, target, names)
                yield batch

    def measured() -> Iterator[dict[str, np.ndarray]]:
        for number, batch in enumerate(prefetch(batches(), parallel.place)):
            found = jax.device_get(step(variables, batch))
            place = np.arange(number * size, (number + 1) * size)
            found["mask"] = (place < len(folder.names)).astype(np.float32)
            if LABELS in probe.needs and folder.classes:
                place = np.minimum(place, len(folder.names) - 1)
                labels = [folder.classes.index(class_of(folder.names[i])) for i in place]
                found[LABELS] = np.array(labels, np.int32)
            yield found

    return collect(measured(), probe.needs)


def _stack(
    pool: ThreadPoolExecutor, read: Callable[[str], np.ndarray], names: list[str]
) -> np.ndarray:
    return to_float(np.stack(list(pool.map(read, names))))


def _identity(folder: _Folder) -> list[Any]:
    """Return what identifies a folder's images and their classes, for its fingerprint."""
    classes = [class_of(name) if folder.classes else "" for name in folder.names]
    return [folder.size, folder.channels, list(folder.digests), classes]


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
