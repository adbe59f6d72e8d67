"""TensorFlow Datasets by name, without TensorFlow: random access to prepared array_record data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.images import preprocess
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.data.dataset import (
    Arrays,
    Dataset,
    Split,
    fingerprint,
    how_to_preprocess,
    split_at_random,
    stack,
    subset,
)
from gan_jax.data.decoded import cached


def open_tfds(config: ConfigDict) -> Dataset:
    """Open the TFDS data set `data.name` in `data.dir` (or TFDS_DATA_DIR, or TFDS's own default).

    Split "eval" is the official validation split; if there is none, `data.holdout` of train, the
    same for every seed. "test" is the official test split.

    Raises:
      UserError: unknown, or not prepared on this machine; nothing is downloaded.
    """
    if not config.name:
        raise UserError("data.name is empty: name a TFDS data set, such as mnist")
    import tensorflow_datasets as tfds

    builder = _builder(tfds, config)
    features = builder.info.features
    if "image" not in features:
        names = ", ".join(features)
        raise UserError(f"TFDS set {config.name!r} has no feature 'image': it has {names}")
    label = dict(features.items()).get("label")
    classes = int(getattr(label, "num_classes", 0) or 0)
    channels = config.channels or features["image"].shape[-1]
    how = dict(**how_to_preprocess(config, channels), skipped=0)
    official = {
        name: _split(builder, name, how, bool(classes), config.memory_gib)
        for name in ("train", "validation", "test")
        if name in builder.info.splits
    }
    if "train" not in official:
        names = ", ".join(builder.info.splits)
        raise UserError(f"TFDS set {config.name!r} has no split 'train': it has {names}")
    splits = {"train": official["train"]}
    if "validation" in official:
        splits["eval"] = official["validation"]
    else:
        train, held_out = split_at_random(len(official["train"]), config.holdout)
        splits = {
            "train": subset(official["train"], train),
            "eval": subset(official["train"], held_out),
        }
    if "test" in official:
        splits["test"] = official["test"]
    streams = {"image": Stream((*config.size, channels), "float32", "image")}
    if classes:
        streams["label"] = Stream((), "int32", "label")
    counts = {name: len(split) for name, split in splits.items()}
    spec = DataSpec(
        name=config.name,
        streams=streams,
        num_classes=classes,
        class_names=tuple(label.names) if classes else (),
        counts=counts,
        preprocess=how,
        fingerprint=fingerprint([builder.info.full_name, counts, how, config.holdout]),
    )
    return Dataset(spec, splits)


def _builder(tfds: Any, config: ConfigDict) -> Any:
    # TFDS itself reads the variable only when it is imported, which is too early in a notebook.
    where = config.dir or os.environ.get("TFDS_DATA_DIR") or None
    place = where or "~/tensorflow_datasets (neither data.dir nor TFDS_DATA_DIR is set)"
    fix = (
        f'prepare it once, in an environment with TensorFlow: python -c "import tensorflow_datasets'
        f" as t; t.builder('{config.name}', data_dir=DIR, file_format='array_record')"
        '.download_and_prepare()" and pass --config.data.dir=DIR'
    )
    try:
        builder = tfds.builder(config.name, data_dir=where, file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        raise UserError(
            f"TFDS has no data set {config.name!r}: see the catalogue at"
            " tensorflow.org/datasets/catalog, or prepare your own"
        ) from None
    except (ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot open TFDS set {config.name!r} ({reason}): {fix}") from None
    if not builder.is_prepared():
        raise UserError(f"TFDS set {config.name!r} is not prepared in {place}: {fix}")
    return builder


def _split(
    builder: Any, name: str, how: dict[str, Any], labelled: bool, memory_gib: float
) -> Split:
    source = builder.as_data_source(split=name)

    def read(index: int) -> Arrays:
        return convert(source[index])

    def convert(stored: dict[str, Any]) -> Arrays:
        example = {"image": preprocess(np.asarray(stored["image"]), how)}
        if labelled:
            example["label"] = np.int32(stored["label"])
        return example

    def decode() -> Arrays:
        return stack([convert(x) for x in source.__getitems__(range(len(source)))])

    def read_all() -> Arrays:
        files = sorted(p for p in Path(builder.data_path).iterdir() if p.is_file())
        states = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        return cached(fingerprint([str(builder.data_path), states, name, how, labelled]), decode)

    size = len(source) * int(np.prod(how["size"])) * how["channels"] / 2**30
    return Split(len(source), read, read_all if size <= memory_gib else None)
