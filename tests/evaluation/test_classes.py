"""GAN-train and GAN-test of generators with known defects."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import first_steps, sgd

from gan_jax.core.errors import UserError
from gan_jax.core.images import to_float
from gan_jax.core.spec import DataSpec
from gan_jax.data import open_data
from gan_jax.evaluation.classes import fit, gan_test, gan_train, generated, labels_of
from gan_jax.library.run import Run
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import make_parallel

DIGITS = dict(
    train__devices=1,
    data__source="digits",
    data__size=(8, 8),
    model__net__width=8,
    task__max_shift=0.0,
    task__max_scale=0.0,
    task__max_rotation=0.0,
    task__label_smoothing=0.0,
    model__net__dropout=0.0,
    train__ema_decay=0.0,
    train__steps=300,
    train__batch_size=32,
    optim__net__lr=0.02,
    optim__net__schedule="constant",
)


@dataclasses.dataclass
class Generator:
    """A stand-in for a run: returns real images of the requested class, with a known defect.

    Attributes:
      shift: added to the requested class.
      variety: number of distinct images per class.
      conditional: `model.conditional` of its config.
    """

    spec: DataSpec
    images: np.ndarray
    labels: np.ndarray
    shift: int = 0
    variety: int = 1000
    conditional: str = "projection"

    @property
    def config(self):
        return smoke_config("dcgan", model__conditional=self.conditional)

    @property
    def task(self):
        return make_task(self.config, open_data(self.config.data).spec)

    def sample(self, num, *, seed, labels):
        draw = np.random.default_rng(seed)
        classes = [np.flatnonzero(self.labels == k)[: self.variety] for k in range(10)]
        chosen = [draw.choice(classes[(k + self.shift) % 10]) for k in labels]
        return to_float(self.images[np.array(chosen)])


@pytest.fixture(scope="module")
def dataset():
    return open_data(smoke_config("classifier", **DIGITS).data)


@pytest.fixture(scope="module")
def oracle(dataset):
    split = dataset.splits["train"]
    arrays = {name: array[split.rows] for name, array in split.arrays.items()}
    return Generator(dataset.spec, arrays["image"], arrays["label"])


@pytest.fixture(scope="module")
def reader(dataset):
    """Return a classifier trained on real images, as a run."""
    config = smoke_config("classifier", **DIGITS)
    task, parallel = make_task(config, dataset.spec), make_parallel("jit", 1)
    state = fit(task, config, dataset.splits["train"], parallel)
    return Run(Path("runs/reader"), config, dataset.spec, task, state, 300, parallel)


def test_both_scores_of_good_and_bad_generators(oracle, reader):
    train, test = {}, {}
    wrong = gan_test(dataclasses.replace(oracle, shift=1), reader, num=200)
    assert wrong["gan_test/cnn:reader/200"] < 0.1
    for name, changes in (("good", {}), ("few", dict(variety=1))):
        generator = dataclasses.replace(oracle, **changes)
        ((key, train[name]),) = gan_train(generator, reader.config, name="cnn").items()
        assert key == "gan_train/cnn/eval/1348"
        ((key, test[name]),) = gan_test(generator, reader, num=200).items()
        assert key == "gan_test/cnn:reader/200"
    assert train["good"] > 0.9 and test["good"] > 0.9
    # One image per class: GAN-test is high, GAN-train low.
    assert test["few"] > 0.8 and train["few"] < 0.75


def test_training_is_that_of_the_loop(dataset):
    """`fit` gives the same weights as the training loop on the same images."""
    config = sgd(smoke_config("classifier", **{**DIGITS, "train__steps": 3, "data__flip": True}))
    task = make_task(config, dataset.spec)
    state = fit(task, config, dataset.splits["train"], make_parallel("jit", 1))
    chex.assert_trees_all_close(
        jax.device_get(state), first_steps(config, "jit", 1), rtol=1e-5, atol=1e-6
    )


def test_images_are_stored_as_real_ones_are(oracle, dataset):
    labels = np.array([3, 1, 4])
    split = generated(oracle, labels, dataset.spec, seed=0)
    assert split.arrays["image"].dtype == np.uint8
    np.testing.assert_array_equal(split.get(np.arange(3))["label"], labels)
    large = dataclasses.replace(
        dataset.spec,
        streams={"image": dataclasses.replace(dataset.spec.streams["image"], shape=(12, 12, 1))},
        preprocess={**dataset.spec.preprocess, "size": (12, 12)},
    )
    assert generated(oracle, labels, large, seed=0).arrays["image"].shape == (3, 12, 12, 1)


def test_labels_are_those_of_the_real_images(dataset):
    split = dataset.splits["train"]
    expected = split.get(np.arange(len(split)))["label"]
    np.testing.assert_array_equal(labels_of(split), expected)


def test_refusals(dataset, reader, oracle):
    unconditional = dataclasses.replace(oracle, conditional="none")
    with pytest.raises(UserError, match=r"gan_train needs .* given classes: .*unconditional"):
        gan_train(unconditional, reader.config, name="cnn")
    with pytest.raises(UserError, match=r"gan_test needs .* given classes: .*unconditional"):
        gan_test(unconditional, reader)
    angles = smoke_config("classifier", **DIGITS, task__target="angle")
    for config in (smoke_config("dcgan"), angles):
        with pytest.raises(UserError, match=r"not of a classifier of labels"):
            gan_train(oracle, config, name="cnn")
        with pytest.raises(UserError, match=r"is no classifier of labels"):
            gan_test(oracle, dataclasses.replace(reader, config=config))
    with pytest.raises(UserError, match=r"cannot generate"):
        gan_test(reader, reader)
    other = smoke_config("classifier", **DIGITS, data__holdout=0.5)
    with pytest.raises(UserError, match=r"data.holdout=0.25 and the classifier's 0.5 .*seen"):
        gan_train(oracle, other, name="cnn")
    others = dataclasses.replace(oracle.spec, class_names=("a", "b"), num_classes=2, name="ab")
    with pytest.raises(UserError, match=r"\(ab, 2 classes\) are not .*\(digits, 10 classes\)"):
        gan_test(dataclasses.replace(oracle, spec=others), reader)


def test_a_training_that_diverges_has_no_score(dataset):
    config = smoke_config("classifier", **{**DIGITS, "train__steps": 2})
    task = make_task(config, dataset.spec)
    nowhere = lambda phase, state, batch, key: (state, {"loss": jnp.nan * state.step})  # noqa: E731
    with pytest.raises(UserError, match=r"loss is nan after 2 steps.*lower learning rate"):
        fit(
            dataclasses.replace(task, train_step=nowhere),
            config,
            dataset.splits["train"],
            make_parallel("jit", 1),
        )
