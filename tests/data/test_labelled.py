"""Semi-supervised data: which examples keep labels, and which labelled ones are added."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import smoke_config

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.data.dataset import stack
from gan_jax.data.labelled import choose_labelled
from gan_jax.methods.registry import make_task


def test_as_many_of_each_class() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 200)
    chosen = choose_labelled(labels, 4, 20)
    assert len(set(chosen)) == 20 and (np.bincount(labels[chosen]) == 5).all()
    np.testing.assert_array_equal(chosen, choose_labelled(labels, 4, 20))
    for count, says in ((18, "of the 4 classes"), (-4, "0 is all"), (400, "a class has fewer")):
        with pytest.raises(UserError, match=says):
            choose_labelled(labels, 4, count)


def test_every_example_comes_with_a_labelled_one() -> None:
    whole = open_data(smoke_config("dcgan").data)
    dataset = open_data(smoke_config("semi_supervised_gan").data)
    train, size = dataset.splits["train"], len(whole.splits["train"])
    assert len(train) == size and train.in_memory
    batch, plain = (split.get(np.arange(size)) for split in (train, whole.splits["train"]))
    np.testing.assert_array_equal(batch["image"], plain["image"])
    assert (batch["label"] == -1).all(), "a label that was taken away cannot be learnt from"
    each = stack([train.read(i) for i in range(size)])
    for name, stored in train.stored(np.arange(size)).items():
        np.testing.assert_array_equal(each[name], stored)
    seen = {image.tobytes() for image in batch["labelled_image"]}
    kept = open_data(smoke_config("semi_supervised_gan", data__unlabelled=False).data)
    few = kept.splits["train"].get(np.arange(20))
    assert len(kept.splits["train"]) == kept.spec.counts["train"] == 20
    assert (np.bincount(few["label"]) == 2).all()
    pairs = {
        image.tobytes(): label for image, label in zip(few["image"], few["label"], strict=True)
    }
    assert seen == set(pairs), "all of them, and no others"
    for image, label in zip(batch["labelled_image"], batch["labelled_label"], strict=True):
        assert pairs[image.tobytes()] == label
    streams = dataset.spec.streams
    assert streams["labelled_image"] == streams["image"]
    assert {k: (x.shape[1:], str(x.dtype)) for k, x in batch.items()} == {
        k: (s.shape, s.dtype) for k, s in streams.items()
    }


def test_a_classifier_does_not_learn_labels_that_were_taken_away() -> None:
    config = smoke_config("classifier", task__target="label", data__labelled=20)
    with pytest.raises(UserError, match=r"task\.name=classifier.*data\.unlabelled=false"):
        make_task(config, open_data(config.data).spec)
    config.data.unlabelled = False
    make_task(config, open_data(config.data).spec)
