"""Semi-supervised data: only some training examples keep their labels."""

from __future__ import annotations

import dataclasses

import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.data.dataset import Arrays, Dataset, Domains, Split, subset


def choose_labelled(labels: np.ndarray, num_classes: int, count: int) -> np.ndarray:
    """Return the indices of `count` examples, equally many per class, the same for every seed.

    Args:
      labels: int [N].
      num_classes: number of classes.
      count: number of examples, divisible by num_classes.

    Raises:
      UserError: `count` is not divisible, or a class has too few examples.
    """
    if count < 1 or not num_classes or count % num_classes:
        raise UserError(
            f"data.labelled={count}: as many of each of the {num_classes} classes, so a multiple of"
            " their number; 0 is all"
        )
    order = np.random.Generator(np.random.Philox(1)).permutation(len(labels))
    each = count // num_classes
    chosen = [order[labels[order] == label][:each] for label in range(num_classes)]
    if min(map(len, chosen)) < each:
        raise UserError(
            f"data.labelled={count}: a class has fewer than {each} training examples: set less"
        )
    return np.sort(np.concatenate(chosen))


def keep_labels(dataset: Dataset, count: int, *, unlabelled: bool) -> Dataset:
    """Return a data set whose training split has `count` labels.

    Args:
      dataset: with labels.
      count: as in `choose_labelled`.
      unlabelled: True keeps every training example, with its own label set to -1, and adds a
        labelled one to it as streams "labelled_image" and "labelled_label"; all labelled examples
        are added equally often. False keeps only the labelled examples.

    Raises:
      UserError: data without labels, or too few examples of a class.
    """
    train, spec = dataset.splits["train"], dataset.spec
    if not spec.num_classes:
        raise UserError(f"data.labelled={count} needs labels, and {spec.unlabelled}: set 0")
    if isinstance(train, Domains):
        raise UserError(f"data.labelled={count} with data.unpaired: of two domains, set it to 0")
    if train.in_memory:
        labels = train.arrays["label"]
        labels = labels if train.rows is None else labels[train.rows]
    else:
        labels = np.array([train.read(i)["label"] for i in range(len(train))])
    chosen = choose_labelled(labels, spec.num_classes, count)
    if not unlabelled:
        spec = dataclasses.replace(spec, counts={**spec.counts, "train": count})
        return Dataset(spec, {**dataset.splits, "train": subset(train, chosen)})
    return Dataset(_with_streams(spec), {**dataset.splits, "train": _add_labelled(train, chosen)})


def _add_labelled(train: Split, chosen: np.ndarray) -> Split:
    # One labelled example per training example, in an independent order.
    order = np.random.Generator(np.random.Philox(2)).permutation(len(train))
    partner = chosen[order % len(chosen)]

    def read(index: int) -> Arrays:
        example, labelled = train.read(index), train.read(int(partner[index]))
        return {
            **example,
            "label": np.full_like(example["label"], -1),
            "labelled_image": labelled["image"],
            "labelled_label": labelled["label"],
        }

    def read_all() -> Arrays:
        whole = train.stored(np.arange(len(train)))
        return {
            **whole,
            "label": np.full_like(whole["label"], -1),
            "labelled_image": whole["image"][partner],
            "labelled_label": whole["label"][partner],
        }

    return Split(len(train), read, read_all if train.in_memory else None)


def _with_streams(spec: DataSpec) -> DataSpec:
    streams = dict(spec.streams)
    streams["labelled_image"] = spec.streams["image"]
    streams["labelled_label"] = Stream((), "int32", "label")
    return dataclasses.replace(spec, streams=streams)
