"""Classification accuracy scores, GAN-train and GAN-test.

GAN-train, also the classification accuracy score (Shmelkov et al. 2018, arXiv:1807.09499, section
3; Ravuri & Vinyals 2019, arXiv:1905.10887): the accuracy on real test images of a classifier
trained on generated images only, labelled with the classes they were generated for. It drops with
low image quality and with low diversity. GAN-test: the accuracy on generated images of a classifier
trained on real ones; it drops with low image quality only.

The classifier is a config of this project, trained by the usual training step on as many generated
images as there are real ones, with the labels of the real ones. The last checkpoint is used, so no
test image influences the training. For the baseline on real images, train the same config as it
is: GAN-train is to be read relative to it.

Deviations: the papers train ResNets on ImageNet or CIFAR; here the config chooses the network and
the training budget. Generated images are rounded to 8 bits, as the real ones are stored.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.images import preprocess, to_uint8
from gan_jax.core.keys import named_keys
from gan_jax.core.metric_names import MetricName
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Task
from gan_jax.data import Split, open_data
from gan_jax.data.dataset import array_split
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.library.run import Run
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import Parallel, make_parallel
from gan_jax.training.bounded_dispatch import BoundedDispatch
from gan_jax.training.feed import feed
from gan_jax.training.step import training_step

_READ = 1024  # labels read at once


def gan_train(
    generator: Run,
    config: ConfigDict,
    *,
    name: str,
    num: int = 0,
    seed: int = 0,
    split: str = "",
    **options: Any,
) -> dict[str, float]:
    """Train a classifier on generated images and test it on real ones.

    Args:
      generator: a class-conditional run.
      config: config of a classifier (`task.target=label`): its network, training length, seed and
        real data, which must have the generator's classes.
      name: the classifier's part of the metric name.
      num: number of images to generate; 0 for the size of the real split "train". Labels are those
        of that split in order, repeated from the start where `num` is larger.
      seed: seed of the generated images.
      split: split of real images to test on; "" for "test" if the data have one, else "eval".
      **options: sampling options of the generator's task, such as truncation=0.7.

    Returns:
      {"gan_train/NAME/SPLIT/NUM": accuracy in [0, 1]}, NUM being the number of generated images.

    Raises:
      UserError: for an unconditional generator, a generator and config that differ in classes or
        held-out images, a config of another task, or a training that diverges.
    """
    if not _classifies(config):
        raise UserError(
            f"gan_train: a config of task {config.task.name!r}, not of a classifier of labels: name"
            " one such as configs/classifier.py"
        )
    dataset = open_data(config.data)
    _check_classes("gan_train", generator, dataset.spec)
    split = split or ("test" if "test" in dataset.splits else "eval")
    held_out = [c.data.holdout for c in (generator.config, config)]
    if split == "eval" and held_out[0] != held_out[1]:
        raise UserError(
            f"gan_train: the generator's data.holdout={held_out[0]} and the classifier's"
            f" {held_out[1]} differ, so that split eval has images which the generator has seen:"
            " give both the same"
        )
    labels = labels_of(dataset.examples("train", "label"))
    labels = np.resize(labels, num or len(labels))
    made = generated(generator, labels, dataset.spec, seed=seed, **options)
    parallel = make_parallel(config.train.parallel, config.train.devices, config.train.fsdp)
    task = make_task(config, dataset.spec)
    state = fit(task, config, made, parallel)
    size = parallel.round_up(config.eval.batch_size)
    evaluator = make_evaluator(task, parallel, size, config.seed)
    found = evaluator(state, dataset.examples(split, "label"))
    full = MetricName("gan_train", protocol=(name, split, len(labels)))
    return {str(full): found["accuracy"]}


def gan_test(
    generator: Run, classifier: Run, *, num: int = 10_000, seed: int = 0, **options: Any
) -> dict[str, float]:
    """Test a classifier trained on real images on generated images.

    Args:
      generator: a class-conditional run.
      classifier: a run with `task.target=label` and the same classes.
      num: number of images to generate; image i has class i modulo the number of classes.
      seed: seed of the generated images.
      **options: sampling options of the generator's task.

    Returns:
      {"gan_test/cnn:RUN/NUM": accuracy in [0, 1]}.

    Raises:
      UserError: as `gan_train`.
    """
    if not _classifies(classifier.config):
        raise UserError(
            f"gan_test: {classifier.workdir} is no classifier of labels: name a run of one, such as"
            " of configs/classifier.py"
        )
    _check_classes("gan_test", generator, classifier.spec)
    labels = np.arange(num, dtype=np.int32) % classifier.spec.num_classes
    made = generated(generator, labels, classifier.spec, seed=seed, **options)
    size = classifier.parallel.round_up(classifier.config.eval.batch_size)
    evaluator = make_evaluator(classifier.task, classifier.parallel, size, classifier.config.seed)
    found = evaluator(classifier.state, made)
    full = MetricName("gan_test", protocol=(f"cnn:{classifier.workdir.name}", num))
    return {str(full): found["accuracy"]}


def generated(
    generator: Run, labels: np.ndarray, spec: DataSpec, *, seed: int, **options: Any
) -> Split:
    """Return generated images with the given labels as a split: uint8, of `spec.image_shape`."""
    images = to_uint8(generator.sample(len(labels), seed=seed, labels=labels, **options))
    if images.shape[1:] != tuple(spec.image_shape):
        images = np.stack([preprocess(image, spec.preprocess) for image in images])
    return array_split({"image": images, "label": labels.astype(np.int32)})


def fit(task: Task, config: ConfigDict, split: Split, parallel: Parallel) -> TrainState:
    """Train a task for `config.train.steps` steps in memory, without writing a run directory."""
    keys = parallel.replicate(lambda: named_keys(config.seed))
    state = parallel.compile_init(task.init)(keys["init"])
    size, steps = config.train.batch_size, config.train.steps
    parallel.check_batch("train.batch_size", size, microbatches=config.train.microbatches)
    step = parallel.compile_step(training_step(task, config))
    draws = (task.phase(i).draws for i in range(steps))
    metrics: dict[str, jax.Array] = {}
    dispatch = BoundedDispatch()
    for i, batch in enumerate(feed(split, parallel, config, position=0, draws=draws)):
        state, metrics = step(task.phase(i), state, batch, keys["train"])
        dispatch.wait(metrics)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise UserError(
                f"{name} is {float(value)} after {steps} steps: train with a lower learning rate"
            )
    return state


def labels_of(split: Split) -> np.ndarray:
    """Return the labels of a whole split, int32 [N]."""
    index = np.arange(len(split))
    parts = [split.stored(index[i : i + _READ])["label"] for i in range(0, len(split), _READ)]
    return np.concatenate(parts)


def _classifies(config: ConfigDict) -> bool:
    return config.task.name == "classifier" and config.task.target == "label"


def _check_classes(what: str, generator: Run, spec: DataSpec) -> None:
    generator.task.require("generate")
    if generator.spec.class_names != spec.class_names:
        mine, others = (f"{s.name}, {s.num_classes} classes" for s in (generator.spec, spec))
        raise UserError(
            f"{what}: the generator's classes ({mine}) are not the classifier's ({others}): name a"
            " classifier of the same data"
        )
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    options = generator.task.check_options({})
    try:
        jax.eval_shape(
            lambda key, label: generator.task.latents(key, label, **options),
            key,
            jax.ShapeDtypeStruct((1,), np.int32),
        )
    except UserError as error:
        raise UserError(f"{what} needs a generator of given classes: {error}") from None
