"""Photographs cut into windows: ten that come with other packages, and folders."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.images import Header
from gan_jax.data.dataset import Dataset, fingerprint
from gan_jax.data.folder import find_partners, split_names
from gan_jax.data.folders import nfc, scan, shortened
from gan_jax.data.image_files import range_notes, read_headers, widest
from gan_jax.data.layout import lay_out
from gan_jax.data.windows import Photograph, photograph, windowed

# The photographs, by split: (package, file in it). Both halves of the stereo pair are in training.
BUNDLED: dict[str, tuple[tuple[str, str], ...]] = {
    "train": (
        ("skimage", "data/astronaut.png"),
        ("skimage", "data/hubble_deep_field.jpg"),
        ("skimage", "data/motorcycle_left.png"),
        ("skimage", "data/motorcycle_right.png"),
        ("skimage", "data/rocket.jpg"),
        ("sklearn", "datasets/images/china.jpg"),
        ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ),
    "eval": (
        ("skimage", "data/chelsea.png"),
        ("skimage", "data/coffee.png"),
        ("sklearn", "datasets/images/flower.jpg"),
    ),
}


def open_photographs(config: ConfigDict) -> Dataset:
    """Open ten photographs that come with scikit-image, scikit-learn and matplotlib.

    `chelsea`, `coffee` and `flower` are split "eval", and "test" as well; the others are trained
    on, with those of the folder `data.path` if that is set.

    Raises:
      UserError: a package or a file is missing, or as `windows.windowed`.
    """
    if config.fit != "windows":
        raise UserError(
            f"data.source=photographs with data.fit={config.fit}: photographs of many sizes are cut"
            " into windows: set data.fit=windows"
        )
    paths = {split: [_bundled(*place) for place in part] for split, part in BUNDLED.items()}
    notes: list[str] = []
    if config.path:
        found = scan(Path(config.path))
        paths["train"] += [found.root / name for name in found.names]
        notes += [*found.notes(), *range_notes(found.root, found.names, config.white)]
    names = [str(path) for part in paths.values() for path in part]
    headers, notes = _headers(config, Path(), names, notes)
    channels = {"image": config.channels or 3}
    how = {**channels, "white": config.white}
    kept = {
        split: [
            photograph(path.name, {"image": (path, _size(headers[str(path)]))}, how)
            for path in part
            if str(path) in headers
        ]
        for split, part in paths.items()
    }
    identity = [[_sha(Path(name)) for name in headers], channels, list(config.size)]
    return windowed(
        {**kept, "test": kept["eval"]},
        name="photographs",
        config=config,
        channels=channels,
        fingerprint=fingerprint(identity),
        notes=notes,
        skipped=len(names) - len(headers),
        white=config.white,
    )


def open_photograph_folder(config: ConfigDict) -> Dataset:
    """Open the image folder `data.path` as windows of photographs (`data.fit=windows`).

    Splits are those of `folder.open_folder`; classes are ignored. With `data.target_path` pairs are
    read, whose halves may differ in size by an integer factor.

    Raises:
      UserError: as `open_folder` and `windows.windowed`.
    """
    if config.halves or config.unpaired:
        raise UserError(
            f"data.halves={config.halves or 'none'} and data.unpaired={config.unpaired} with"
            " data.fit=windows: pairs are two folders, data.path and data.target_path"
        )
    found = scan(Path(config.path))
    layout = lay_out(found)
    names = [name for part in layout.splits.values() for name in part]
    roots, notes = {"image": found.root}, found.notes()
    files = {"image": {name: name for name in names}}
    if config.target_path:
        targets, more = find_partners(config, names)
        roots["target"], notes = Path(config.target_path), notes + more
        names = [name for name in names if name in targets]
        files["target"] = targets
    headers, channels = {}, {}
    for stream, root in roots.items():
        there = [files[stream][name] for name in names]
        headers[stream], notes = _headers(config, root, there, notes)
        names = [name for name in names if files[stream][name] in headers[stream]]
        channels[stream], more = (
            (config.channels, []) if config.channels else widest(root, headers[stream])
        )
        notes += more + range_notes(root, there, config.white)
    parts, more = split_names(layout, names, config.holdout)
    notes += [f"{found.root}: {line}" for line in more]

    def make(name: str) -> Photograph:
        paths = {
            stream: (root / files[stream][name], _size(headers[stream][files[stream][name]]))
            for stream, root in roots.items()
        }
        return photograph(name, paths, {**channels, "white": config.white})

    sizes = [(root / files[s][name]).stat().st_size for s, root in roots.items() for name in names]
    identity = [list(map(nfc, names)), sizes, channels, list(config.size), config.holdout]
    if layout.official:
        identity.append({key: len(part) for key, part in parts.items()})
    return windowed(
        {split: [make(name) for name in part] for split, part in parts.items()},
        name=found.root.absolute().name,
        config=config,
        channels=channels,
        fingerprint=fingerprint(identity),
        notes=notes,
        skipped=len(found.names) - len(names),
        white=config.white,
    )


def _bundled(package: str, file: str) -> Path:
    """Return the path of a file in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    path = Path(next(iter(spec.submodule_search_locations))) / file if spec else Path(file)
    if not path.is_file():
        raise UserError(
            f"the photograph {Path(file).name} of package {package} is not installed: pip install"
            " 'gan_jax[photos]'"
        )
    return path


def _headers(
    config: ConfigDict, root: Path, names: Sequence[str], notes: Sequence[str]
) -> tuple[dict[str, Header], list[str]]:
    """Return the headers of the readable files, and notes on the damaged ones."""
    found = read_headers(root, names, config.on_error)
    bad = [name for name in names if name not in found]
    more = [f"{root}: left out {len(bad):,} (unreadable): {shortened(bad)}"] if bad else []
    return found, [*notes, *more]


def _size(header: Header) -> tuple[int, int]:
    return header.height, header.width


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
