"""Data sources: bundled digits and photographs, TFDS, image folders, .npz files, synthetic data."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.images import preprocess
from gan_jax.core.outside import call_outside, is_outside
from gan_jax.core.places import place
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.data.dataset import (
    Arrays,
    Dataset,
    array_split,
    fingerprint,
    how_to_preprocess,
    split_at_random,
    subset,
    unpaired,
)
from gan_jax.data.folder import open_folder
from gan_jax.data.labelled import keep_labels
from gan_jax.data.photographs import open_photograph_folder, open_photographs
from gan_jax.data.tfds import open_tfds


def open_data(config: ConfigDict) -> Dataset:
    """Open the data set that `config.data` describes; reads local files only.

    An external source, "my_package.module:function", takes the section and returns a Dataset.

    Raises:
      UserError: the data do not exist, are empty, or cannot be read.
    """
    config = _expand_paths(config)
    openers = {
        "digits": open_digits,
        "tfds": open_tfds,
        "folder": open_photograph_folder if config.fit == "windows" else open_folder,
        "photographs": open_photographs,
        "npz": open_npz,
        "synthetic": open_synthetic,
    }
    outside = is_outside(config.source)
    if not outside:
        check_choice("data.source", config.source, openers)
    if config.halves:
        check_choice("data.halves", config.halves, ("ab", "ba"))
    if config.eval_pairs and not config.unpaired:
        raise UserError("data.eval_pairs=true is of unpaired data: set data.unpaired=true too")
    if len(config.size) != 2 or min(config.size) < 1:
        raise UserError(f"data.size={config.size}: (height, width), both at least 1 px")
    if config.fit == "windows" and config.source not in ("folder", "photographs") and not outside:
        raise UserError(
            f"data.fit=windows with data.source={config.source}: only photographs in a folder are"
            " cut into windows: use data.source=folder or photographs"
        )
    if outside:
        dataset = call_outside("data.source", config.source, Dataset, config)
    else:
        dataset = openers[config.source](config)
    if config.unpaired and config.source != "folder":
        if "target" not in dataset.spec.streams:
            raise UserError(f"data.unpaired=true with {dataset.spec.name}, which has no targets")
        dataset = unpaired(dataset, eval_pairs=config.eval_pairs)
    if not config.labelled:
        return dataset
    return keep_labels(dataset, config.labelled, unlabelled=config.unlabelled)


def _expand_paths(config: ConfigDict) -> ConfigDict:
    """Expand `~` and variables in the paths of the section, and check that image folders exist."""
    config = config.copy_and_resolve_references()
    if config.source == "folder" and not config.path:
        raise UserError("data.path is empty: name an image folder, such as --config.data.path=DIR")
    for name in ("path", "target_path", "dir"):
        if {"~", "$"} & set(config[name]):
            config[name] = str(place(config[name]))
        folder = config.source in ("folder", "photographs")
        if folder and config[name] and not Path(config[name]).is_dir():
            raise UserError(
                f"image folder {config[name]} is not there: say where it is with"
                f" --config.data.{name}=DIR"
            )
    return config


def open_digits(config: ConfigDict) -> Dataset:
    """Open the 1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""
    from sklearn.datasets import load_digits  # the import takes 0.5 s

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    return _from_arrays(config, "digits", {"image": images, "label": labels})


def open_npz(config: ConfigDict) -> Dataset:
    """Open an .npz file.

    It holds an array "image", uint8 [N, H, W] or [N, H, W, C]; optionally "label", int [N], and
    "target", uint8 images or float vectors [N, K].
    """
    path = Path(config.path)
    if not config.path or not path.is_file():
        raise UserError(
            f"data.path={config.path!r} is not a file: name an .npz file by --config.data.path=FILE"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        # TypeError: a single array, as written by numpy.save.
        raise UserError(f"cannot read {path} as .npz ({error})") from None
    if "image" not in arrays:
        raise UserError(f"{path} has no array 'image': it has {', '.join(arrays) or 'none'}")
    known = {name: arrays[name] for name in ("image", "label", "target") if name in arrays}
    for name, array in known.items():
        if not array.ndim or not array.size:
            raise UserError(f"{path}: {name!r} holds no examples, its shape is {array.shape}")
        if len(array) != len(arrays["image"]):
            raise UserError(f"{path}: {len(array)} of {name!r} for {len(arrays['image'])} images")
    for name in ("image", "target"):
        if name in known:
            known[name] = _checked(path, name, known[name])
    if "label" in known:
        if known["label"].dtype.kind not in "iu" or known["label"].ndim != 1:
            raise UserError(f"{path}: 'label' must be whole numbers [N]")
        if known["label"].min() < 0:
            raise UserError(f"{path}: 'label' has negative entries; classes count from 0")
        known["label"] = known["label"].astype(np.int32)
    return _from_arrays(config, path.stem, known, identity="npz")


def _checked(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        array = array[..., None] if array.ndim == 3 else array
        if array.shape[-1] in (1, 3, 4):
            return array
    elif name == "target" and array.dtype.kind == "f" and array.ndim in (1, 2):
        return array.reshape(len(array), -1).astype(np.float32)
    legal = "uint8 [N, H, W] or [N, H, W, 1, 3 or 4]"
    also = ", or float vectors [N, K]" if name == "target" else ""
    raise UserError(
        f"{path}: {name!r} is {array.dtype} {list(array.shape)}; allowed: {legal}{also}"
    )


def _from_arrays(config: ConfigDict, name: str, arrays: Arrays, identity: str = "") -> Dataset:
    """Resize stored arrays and split them at random.

    Args:
      config: the section "data".
      name: name of the data, for display.
      arrays: as stored.
      identity: name used in the fingerprint, if `name` may change.
    """
    channels = config.channels or arrays["image"].shape[-1]
    how = dict(**how_to_preprocess(config, channels), skipped=0)
    labels = arrays.get("label")
    known_as = [identity, name] if identity else [name]
    current, *former = (fingerprint([text, how, config.holdout], arrays) for text in known_as)
    model = {k: _resized(array, how, config.channels) for k, array in arrays.items()}
    whole = array_split(model)
    train, held_out = split_at_random(len(whole), config.holdout)
    splits = {"train": subset(whole, train), "eval": subset(whole, held_out)}
    num_classes = 0 if labels is None else int(labels.max()) + 1
    spec = DataSpec(
        name=name,
        streams={k: _stream(k, x) for k, x in model.items()},
        num_classes=num_classes,
        class_names=tuple(map(str, range(num_classes))),
        counts={k: len(s) for k, s in splits.items()},
        preprocess=how,
        fingerprint=current,
        former=tuple(former),
        **_target_moments(arrays.get("target"), train),
    )
    return Dataset(spec, splits)


def _target_moments(target: np.ndarray | None, train: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Return `target_mean` and `target_std` of `DataSpec` over the training examples."""
    if target is None or target.dtype == np.uint8:
        return {}
    known = target[train].astype(np.float64)
    mean, deviation = known.mean(0), known.std(0)
    # For a constant, rounding leaves a deviation slightly above 0.
    varies = deviation > 1e-6 * np.abs(mean)
    return dict(
        target_mean=tuple(map(float, mean)),
        target_std=tuple(map(float, np.where(varies, deviation, 1.0))),
    )


def _resized(array: np.ndarray, how: dict[str, Any], channels: int) -> np.ndarray:
    if array.dtype != np.uint8:
        return array
    own = {**how, "channels": channels or array.shape[-1]}  # targets may have other channels
    return np.stack([preprocess(x, own) for x in array])


def _stream(name: str, array: np.ndarray) -> Stream:
    if array.dtype == np.uint8:
        return Stream(array.shape[1:], "float32", "image")
    kind = "label" if name == "label" else "vector"
    return Stream(array.shape[1:], str(array.dtype), kind)


def open_synthetic(config: ConfigDict) -> Dataset:
    """Make 64 images of 10 classes that a network can learn: one noisy pattern per class.

    With data.target_path="synthetic" a stream "target" holds the negative of each image.
    """
    draw = np.random.Generator(np.random.Philox(0))
    channels = config.channels or 1
    labels = (np.arange(64) % 10).astype(np.int32)
    patterns = draw.uniform(0, 255, (10, 8, 8, channels))
    images = np.clip(patterns[labels] + draw.normal(0, 16, (64, 8, 8, channels)), 0, 255)
    arrays = {"image": images.astype(np.uint8), "label": labels}
    if config.target_path == "synthetic":
        arrays["target"] = 255 - arrays["image"]
    return _from_arrays(config, "synthetic", arrays)
