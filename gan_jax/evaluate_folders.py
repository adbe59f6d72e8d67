"""Two folders of images against each other: no run, no data set."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import numpy as np

from gan_jax.data.dataset import fingerprint
from gan_jax.data.pipeline import prefetch
from gan_jax.errors import UserError, did_you_mean
from gan_jax.images import list_images, read_image, to_float
from gan_jax.logs import quiet_libraries
from gan_jax.measurement import remembered
from gan_jax.measures import MEASURES, Measure
from gan_jax.metrics.statistics import read_statistics
from gan_jax.parallel import Parallel, make_parallel
from gan_jax.passes import Look
from gan_jax.protocol import (
    Measured,
    Request,
    check_numbers,
    check_used,
    choose_extractor,
    compute,
    needs_of,
)
from gan_jax.side import LABELS, MOMENTS, Side, collect

BATCH = 64  # images that are looked at together


@dataclasses.dataclass(frozen=True)
class _Folder:
    """The images of a folder: all of one size, and of one number of channels once they are read."""

    root: Path
    names: tuple[str, ...]
    shape: tuple[int, int, int]

    @functools.cached_property
    def classes(self) -> list[str]:
        """Sub-folders, if every image is in one."""
        if not all("/" in name for name in self.names):
            return []
        return sorted({name.split("/")[0] for name in self.names})

    def read(self, name: str) -> np.ndarray:
        """Return an image, uint8 of `shape`; raise UserError if it is of another."""
        image = read_image(self.root / name)
        if image.shape[-1] != self.shape[-1] and image.shape[-1] in (1, 4):
            image = read_image(self.root / name, self.shape[-1])
        if image.shape != self.shape:
            raise UserError(
                f"{self.root / name} is {_size(image.shape)} and {self.names[0]} is"
                f" {_size(self.shape)}: metrics compare images of one size, resize them first"
            )
        return image


def evaluate_folders(real: Path, fake: Path, request: Request) -> Measured:
    """Compare a folder of images with another.

    Args:
      real: the reference: a folder, or an .npz file of statistics (only for metrics that need no
        more of the real side than its moments).
      fake: the folder to judge.
      request: the metrics; those that compare each image with its target pair files by name. `num`
        takes that many of each side, in the order of their names; 0 takes all.

    Raises:
      UserError: no folder, images of unlike sizes, too few of them, or a file of other features.
    """
    quiet_libraries()
    measures = _check_names(request.metrics)
    check_used(request)
    real_needs, fake_needs = needs_of(measures.values())
    pairs = [
        measure.pair(request.vgg, request.heads) for measure in measures.values() if measure.pair
    ]
    fakes = _open(fake, request.num)
    statistics = real.suffix == ".npz" and not real.is_dir()
    if statistics and (pairs or real_needs - {MOMENTS}):
        able = [n for n, m in MEASURES.items() if not m.pair and set(m.real) <= {MOMENTS}]
        raise UserError(
            f"--real={real} holds statistics, enough for {', '.join(able)} only: give the folder of"
            " the real images"
        )
    reals = None if statistics else _open(real, request.num)
    if reals and reals.shape != fakes.shape:
        raise UserError(
            f"--real={real} has images of {_size(reals.shape)} and --fake={fake} of"
            f" {_size(fakes.shape)}: metrics compare images of one size, resize them first"
        )
    there = len(reals.names) if reals else len(fakes.names)
    check_numbers(measures, there, len(fakes.names), "that is all there are")
    if pairs:
        _check_pairs(reals, fakes)
    for name in (n for n, measure in measures.items() if LABELS in measure.real):
        _check_classes(name, reals, fakes)
    sees = any(measure.sees for measure in measures.values())
    extractor = choose_extractor(request, fakes.shape[-1]) if sees else None
    parallel, about = make_parallel(), {}
    side, numbers = Side(), (there, len(fakes.names))
    if statistics:
        side.moments = read_statistics(
            real,
            protocol=extractor.name,
            dimensions=extractor.dimensions,
            weights=extractor.fingerprint,
        )
        numbers = (side.moments.count or numbers[1], numbers[1])
    elif real_needs:
        names = fingerprint(_identity(reals))
        about = {"data": names}
        look = Look(extractor, real_needs)
        make = lambda: _look_at(reals, look, parallel)  # noqa: E731
        side = remembered(reals.root.name, names, there, extractor, real_needs, make)
    made = _look_at(fakes, Look(extractor, fake_needs, pairs), parallel, targets=reals)
    return compute(
        measures,
        side,
        made,
        extractor=extractor,
        split=real.stem if statistics else real.resolve().name,
        numbers=numbers,
        about=about,
    )


def _check_names(names: tuple[str, ...]) -> dict[str, Measure]:
    for name in names:
        if name not in MEASURES:
            raise UserError(
                f"--metrics={name} is no metric of two folders{did_you_mean(name, MEASURES)}: one"
                f" of {', '.join(MEASURES)}"
            )
    return {name: MEASURES[name] for name in names}


def _open(root: Path, num: int) -> _Folder:
    names = list_images(root)
    if num > len(names):
        raise UserError(f"--num={num}: {root} holds {len(names)} images")
    names = names[: num or len(names)]
    height, width, channels = read_image(root / names[0]).shape
    return _Folder(root, tuple(names), (height, width, 3 if channels == 4 else channels))


def _check_pairs(reals: _Folder, fakes: _Folder) -> None:
    if len(reals.names) != len(fakes.names) or any(
        _stem(a) != _stem(b) for a, b in zip(reals.names, fakes.names, strict=True)
    ):
        odd = sorted(set(map(_stem, reals.names)) ^ set(map(_stem, fakes.names)))
        raise UserError(
            f"{len(odd)} images of {reals.root} and {fakes.root} have no partner of the same name"
            f" in the other, the first is {odd[0] if odd else fakes.names[0]}: psnr, ssim and the"
            " like compare pairs"
        )


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


def _look_at(
    folder: _Folder, look: Look, parallel: Parallel, targets: _Folder | None = None
) -> Side:
    """Go over a folder once."""

    def rows(variables: Any, batch: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
        return look(variables, batch["image"], batch.get("target"))

    step, variables = parallel.compile_map(rows), parallel.place_whole(look.variables)
    size = parallel.round_up(min(BATCH, len(folder.names)))
    local = size // jax.process_count()
    targets = targets if look.pairs else None

    def batches() -> Iterator[dict[str, np.ndarray]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(folder.names), size):
                mine = start + jax.process_index() * local
                place = np.minimum(np.arange(mine, mine + local), len(folder.names) - 1)
                batch = {"image": _stack(pool, folder.read, [folder.names[i] for i in place])}
                if targets is not None:
                    wanted = [targets.names[i] for i in place]
                    batch["target"] = _stack(pool, targets.read, wanted)
                yield batch

    def seen() -> Iterator[dict[str, np.ndarray]]:
        for number, batch in enumerate(prefetch(batches(), parallel.place)):
            found = jax.device_get(step(variables, batch))
            place = np.arange(number * size, (number + 1) * size)
            found["mask"] = (place < len(folder.names)).astype(np.float32)
            if LABELS in look.needs and folder.classes:
                place = np.minimum(place, len(folder.names) - 1)
                labels = [folder.classes.index(folder.names[i].split("/")[0]) for i in place]
                found[LABELS] = np.array(labels, np.int32)
            yield found

    return collect(seen(), look.needs)


def _stack(
    pool: ThreadPoolExecutor, read: Callable[[str], np.ndarray], names: list[str]
) -> np.ndarray:
    return to_float(np.stack(list(pool.map(read, names))))


def _identity(folder: _Folder) -> list[Any]:
    """Return what changes when the images of a folder do, without reading them."""
    stats = [(folder.root / name).stat() for name in folder.names]
    times = [[stat.st_size, stat.st_mtime_ns] for stat in stats]
    return [str(folder.root.resolve()), list(folder.names), times]


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
