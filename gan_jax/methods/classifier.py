"""Classification and regression of images: one network, one target.

`task.target` chooses the target: "label", the class; "vector", the data's float stream "target"; or
"angle", a random angle by which each image is rotated before the network sees it: a regression task
for any image set, with an error in degrees.

With `task.standardise`, vectors are standardised by their mean and standard deviation over the
training split: the loss is in standardised units; predictions and their error, "distance", are in
the target's units.

For classes, evaluation reports the accuracy, "top5" (with more than five classes), "nll" (nats,
without label smoothing) and "ece" (see `metrics.calibration`). Evaluation `by_class` reports the
accuracy of each class, their mean and the confusion matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.augment.geometric import random_affine, rotate
from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.keys import fold_in_each
from gan_jax.core.metric_names import MetricName
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Evaluation, Key, Metrics, Phase, Predictor, Task
from gan_jax.methods.roles import check_network
from gan_jax.methods.terms import make_terms, terms_of
from gan_jax.methods.update import Aux, Nets, make_net, make_update
from gan_jax.metrics.calibration import (
    calibration_sums,
    class_accuracies,
    confusion_sums,
    expected_calibration_error,
    top_k_hits,
)
from gan_jax.metrics.confusion import CONFUSION
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.models.cnn import CNN
from gan_jax.models.resnet import ResNet18
from gan_jax.objectives.classification import (
    angle_error_degrees,
    angle_to_vector,
    cross_entropy,
    squared_error,
    vector_to_angle,
)
from gan_jax.parallel.axes import example_keys
from gan_jax.training.optimizers import OPTIMIZERS

TARGETS = ("label", "vector", "angle")
TOP = 5
ANGLE = 60.0  # degrees


class Rules(NamedTuple):
    """See `rules`."""

    target: str
    standardise: bool
    label_smoothing: float
    max_angle: float
    max_rotation: float
    max_scale: float
    max_shift: float


def cnn(*, outputs: int, width: int = 16, dropout: float = 0.0) -> nn.Module:
    """Return a small CNN.

    Args:
      outputs: number of outputs.
      width: channels of the first layer.
      dropout: dropout rate in front of the last layer.
    """
    return CNN(outputs, width=width, dropout_rate=dropout)


def resnet18(*, outputs: int, width: int = 64, stem: str = "small") -> nn.Module:
    """Return a ResNet-18; `stem` is small or imagenet, other fields as in `cnn`."""
    return ResNet18(outputs, width=width, stem=stem)


def rules(
    *,
    target: str = "label",
    standardise: bool = False,
    label_smoothing: float = 0.0,
    max_angle: float = ANGLE,
    max_rotation: float = 0.0,
    max_scale: float = 0.0,
    max_shift: float = 0.0,
) -> Rules:
    """Return the target and the augmentation of the images.

    Args:
      target: label | vector | angle.
      standardise: train on (vector - mean) / deviation; predictions are in the vector's own units.
      label_smoothing: share of the target distribution spread over all classes.
      max_angle: with target=angle, images are rotated by up to this in both directions [degrees].
      max_rotation: of the augmentation [degrees].
      max_scale: of the augmentation [share].
      max_shift: of the augmentation [px].
    """
    check_choice("task.target", target, TARGETS)
    if not 0 <= label_smoothing < 1:
        raise UserError(f"task.label_smoothing={label_smoothing}: in [0, 1)")
    of = {"label": label_smoothing, "vector": standardise, "angle": max_angle != ANGLE}
    names = {"label": "label_smoothing", "vector": "standardise", "angle": "max_angle"}
    for other, chosen in of.items():
        if chosen and other != target:
            name = names[other]
            nothing = {"label": "0", "vector": "false", "angle": f"{ANGLE}"}[other]
            raise UserError(
                f"task.{name} with task.target={target}, which has no use for it: set"
                f" task.{name}={nothing}"
            )
    return Rules(
        target, standardise, label_smoothing, max_angle, max_rotation, max_scale, max_shift
    )


NETWORKS = Choice({"cnn": cnn, "resnet18": resnet18}, ("outputs",), "cnn", nn.Module)
RULES = Choice({"classifier": rules})
SECTIONS: Sections = {
    "task": RULES,
    "model.net": NETWORKS,
    "optim.net": OPTIMIZERS,
    "terms.net": terms_of(),
}


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section of a classifier's config."""
    return SECTIONS


def make_network(config: ConfigDict, spec: DataSpec) -> nn.Module:
    """Return the network, with the target's number of outputs."""
    name, target = config.model.net.name, config.task.target
    if target == "label" and not spec.num_classes:
        raise UserError(
            f"task.target=label needs labels, and {spec.unlabelled}: use a folder with one"
            " sub-folder per class, or another target"
        )
    vector = spec.streams.get("target")
    if target == "vector" and (vector is None or vector.kind != "vector"):
        raise UserError(
            f"task.target=vector needs float vectors, and {spec.name} has none: an .npz file with"
            " an array 'target' [N, K] has them"
        )
    if min(spec.image_shape[:2]) < 8:
        size = "x".join(map(str, spec.image_shape[:2]))
        raise UserError(f"model.net={name}: images of {size} px, at least 8x8: set data.size")
    outputs = {"label": spec.num_classes, "angle": 2}.get(target) or vector.shape[0]
    network = build("model.net", config.model.net, NETWORKS, outputs=outputs)
    check_network(
        "model.net.name",
        name,
        network,
        (jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32),),
        fits=lambda shapes: shapes[0] == (1, outputs) and len(shapes) == 2,
        wanted=f"(outputs {[1, outputs]}, features [B, F])",
        keywords=("keys",),
    )
    return network


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a classifier or a regressor; see `configs/classifier.py` for its fields."""
    task = build("task", config.task, RULES)
    network, target = make_network(config, spec), task.target
    inputs = (jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32),)
    net = make_net(network, inputs, config.optim.net, config.train)
    terms = make_terms("net", config.terms.net, SECTIONS["terms.net"])
    update = make_update({"net": net}, terms, microbatches=config.train.microbatches)

    standardise = target == "vector" and task.standardise and bool(spec.target_mean)
    mean, deviation = (
        (np.asarray(moments, np.float32) for moments in (spec.target_mean, spec.target_std))
        if standardise
        else (np.float32(0), np.float32(1))
    )

    def init(key: Key) -> TrainState:
        start = {"net": net.init(key)}
        return new_state(start, update.buffers(start))

    def draw_angles(keys: jax.Array) -> jax.Array:
        limit = task.max_angle
        return jax.vmap(lambda k: jax.random.uniform(k, (), minval=-limit, maxval=limit))(keys)

    def turn(images: jax.Array, wanted: Any, keys: jax.Array) -> tuple[jax.Array, Any]:
        """Return the network's inputs and targets: rotated images and angles, or both as given."""
        if target != "angle":
            return images, wanted
        degrees = draw_angles(keys)
        return rotate(images, degrees), degrees

    def stream(batch: Batch) -> Any:
        return {"label": batch.get("label"), "vector": batch.get("target")}.get(target)

    def losses(outputs: jax.Array, wanted: jax.Array, smoothing: float = 0.0) -> jax.Array:
        if target == "label":
            return cross_entropy(logits=outputs, labels=wanted, label_smoothing=smoothing)
        vector = angle_to_vector(wanted) if target == "angle" else (wanted - mean) / deviation
        return squared_error(prediction=outputs, target=vector)

    def errors(outputs: jax.Array, wanted: jax.Array) -> jax.Array:
        """Return per-example errors: 1 for a wrong class, degrees, or the Euclidean distance."""
        if target == "label":
            return (outputs.argmax(-1) != wanted).astype(jnp.float32)
        if target == "angle":
            prediction = vector_to_angle(outputs)
            return angle_error_degrees(prediction_degrees=prediction, target_degrees=wanted)
        return jnp.sqrt(squared_error(prediction=in_units(outputs), target=wanted))

    def in_units(outputs: jax.Array) -> jax.Array:
        """Return the outputs as a prediction in the target's units."""
        return outputs * deviation + mean if standardise else outputs

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        augment_key, angle_key, dropout_key = jax.random.split(key, 3)
        terms_key = jax.random.fold_in(key, 3) if terms else None
        images = batch["image"][0]
        if task.max_shift or task.max_scale or task.max_rotation:
            images = random_affine(
                images,
                example_keys(augment_key, len(images)),
                max_degrees=task.max_rotation,
                max_scale=task.max_scale,
                max_shift_pixels=task.max_shift,
            )
        wanted = None if target == "angle" else stream(batch)[0]
        images, wanted = turn(images, wanted, example_keys(angle_key, len(images)))

        def loss_of(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
            images, wanted, keys = inputs
            outputs, _ = nets.net(images, keys=keys)
            loss = losses(outputs, wanted, task.label_smoothing).mean()
            return loss, Aux({"loss": loss, **_named(target, errors(outputs, wanted).mean())})

        inputs = (images, wanted, example_keys(dropout_key, len(images)))
        return update(state, ("net",), loss_of, inputs, key=terms_key, phase=phase)[:2]

    def predict(state: TrainState, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return network.apply(state.nets["net"].variables("ema"), images, train=False)

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        images, wanted = turn(batch["image"], stream(batch), keys)
        outputs, _ = predict(state, images)
        values = _named(target, errors(outputs, wanted))
        if target != "label":
            return masked_sums({"loss": losses(outputs, wanted), **values}, batch["mask"])
        values["nll"] = losses(outputs, wanted)
        given = dict(logits=outputs, labels=wanted)
        if spec.num_classes > TOP:
            values[f"top{TOP}"] = top_k_hits(**given, k=TOP)
        sums = calibration_sums(**given, mask=batch["mask"])
        return {**masked_sums(values, batch["mask"]), **sums}

    def eval_metrics(totals: Mapping[str, Any]) -> dict[str, float]:
        if target != "label":
            return means(totals)
        averaged = {k: v for k, v in totals.items() if not k.startswith("bin_")}
        return {**means(averaged), "ece": expected_calibration_error(totals)}

    def by_class_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        logits, _ = predict(state, batch["image"])
        given = dict(logits=logits, labels=batch["label"], mask=batch["mask"])
        return {"count": batch["mask"].sum(), "confusion": confusion_sums(**given)}

    def by_class_metrics(totals: Mapping[str, Any]) -> dict[str, Any]:
        """Return the accuracy of each class that occurs, their mean, and the confusion matrix."""
        confusion = np.asarray(totals["confusion"])
        shares = class_accuracies(confusion)
        found = {
            str(MetricName("accuracy", name)): float(share)
            for name, share in zip(spec.class_names, shares, strict=True)
            if not np.isnan(share)
        }
        return {"balanced_accuracy": float(np.nanmean(shares)), **found, CONFUSION: confusion}

    def encode(state: TrainState, images: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
        outputs, features = predict(state, images)
        return {"outputs": in_units(outputs), "features": features}

    def answer(state: TrainState, images: jax.Array) -> jax.Array:
        """Return probabilities of the classes, or values in the target's units."""
        outputs, _ = predict(state, images)
        if target == "label":
            return jax.nn.softmax(outputs.astype(jnp.float32))
        return vector_to_angle(outputs)[:, None] if target == "angle" else in_units(outputs)

    about = "accuracy of each class, their mean, and the confusion matrix"
    evaluations = {"by_class": Evaluation(about, by_class_step, by_class_metrics)}
    return Task(
        name="classifier",
        **update.networks,
        phase=lambda step: Phase(due=update.due(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=eval_metrics,
        encode=encode,
        predict=Predictor(answer, _answers(target, spec), target == "label"),
        options={},
        notes=(_standardised(spec),) if standardise else (),
        evaluations=evaluations if target == "label" else {},
    )


def _standardised(spec: DataSpec) -> str:
    """Return a note on the mean and deviation that standardise the targets."""
    many = ", ..." if len(spec.target_mean) > 4 else ""
    mean, deviation = (
        ", ".join(f"{value:.4g}" for value in moments[:4]) + many
        for moments in (spec.target_mean, spec.target_std)
    )
    return (
        f"targets are standardised: mean {mean}, standard deviation {deviation} over split train;"
        " the loss is in these units, predictions and `distance` are in the targets' own"
    )


def _answers(target: str, spec: DataSpec) -> tuple[str, ...]:
    """Return the names of what is predicted."""
    if target != "vector":
        return spec.class_names if target == "label" else ("degrees",)
    (size,) = spec.streams["target"].shape
    return tuple(f"value_{i}" for i in range(size)) if size > 1 else ("value",)


def _named(target: str, error: Any) -> dict[str, Any]:
    """Return errors, or their mean, under the metric name of the target."""
    if target == "label":
        return {"accuracy": 1 - error}
    return {"error_degrees" if target == "angle" else "distance": error}
