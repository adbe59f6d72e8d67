"""Classification and regression learn, and are scored, as they say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest
from conftest import smoke_config
from learning import build, learn
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    top_k_accuracy_score,
)

from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.methods.registry import make_task
from gan_jax.metrics.calibration import calibration_sums, expected_calibration_error
from gan_jax.parallel.mesh import make_parallel

PLAIN = dict(
    task__max_shift=0.0,
    task__max_scale=0.0,
    task__max_rotation=0.0,
    task__label_smoothing=0.0,
    model__net__dropout=0.0,
    train__ema_decay=0.0,
    optim__net__lr=0.02,
    optim__net__schedule="constant",
    model__net__width=4,
)


def test_learns_classes() -> None:
    task, state, dataset = build("classifier", **PLAIN)
    state, found = learn(task, state, dataset, 60)
    assert found[0]["accuracy"] < 0.5 < 0.9 < np.mean([f["accuracy"] for f in found[-5:]])
    score = make_evaluator(task, make_parallel("jit", 1), 16, 0)(state, dataset.splits["eval"])
    assert score["accuracy"] > 0.6


def test_learns_vectors(tmp_path: Path) -> None:
    """A target that is linear in the image: its mean grey level and the contrast of its halves."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype(np.uint8)
    images[:, :4] //= np.random.default_rng(1).integers(1, 5, (64, 1, 1, 1)).astype(np.uint8)
    scaled = images / 127.5 - 1
    target = np.stack([scaled.mean((1, 2, 3)), (scaled[:, :4] - scaled[:, 4:]).mean((1, 2, 3))], 1)
    np.savez(tmp_path / "set.npz", image=images, target=target.astype(np.float32))
    task, state, dataset = build(
        "classifier",
        **PLAIN,
        task__target="vector",
        data__source="npz",
        data__path=str(tmp_path / "set.npz"),
        data__size=(8, 8),
    )
    _, found = learn(task, state, dataset, 60)
    assert np.mean([f["loss"] for f in found[-5:]]) < found[0]["loss"] / 10
    assert "distance" in found[0]


def test_targets_are_standardised(tmp_path: Path) -> None:
    """Around 100 they are learnt as around 0, and predictions come back around 100."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (64, 8, 8, 1)).astype(np.uint8)
    images //= draw.integers(1, 5, (64, 1, 1, 1)).astype(np.uint8)
    plain = images.mean((1, 2, 3), keepdims=True).reshape(64, 1) / 64
    target = np.concatenate([100 + 5 * plain, np.full((64, 1), 0.1)], 1).astype(np.float32)
    np.savez(tmp_path / "set.npz", image=images, target=target)
    data = dict(data__source="npz", data__path=str(tmp_path / "set.npz"), data__size=(8, 8))
    task, state, dataset = build(
        "classifier", **PLAIN, **data, task__target="vector", task__standardise=True
    )
    train = dataset.splits["train"].get(np.arange(len(dataset.splits["train"])))
    known = train["target"][:, 0]
    assert DataSpec.from_json(dataset.spec.to_json()) == dataset.spec
    assert dataset.spec.target_mean == pytest.approx((known.mean(), 0.1))
    assert dataset.spec.target_std == pytest.approx((known.std(), 1))
    assert f"mean {known.mean():.4g}, 0.1, standard deviation {known.std():.4g}, 1" in task.notes[0]
    state, found = learn(task, state, dataset, 60)
    # The error of the mean is 1 in these units.
    assert found[0]["loss"] < 10 and np.mean([f["loss"] for f in found[-5:]]) < 0.3
    evaluator = make_evaluator(task, make_parallel("jit", 1), 16, 0)
    score = evaluator(state, dataset.splits["train"])
    made = np.asarray(task.encode(state, train["image"], None)["outputs"])
    assert task.predict.names == ("value_0", "value_1")
    assert not task.predict.probabilities
    np.testing.assert_allclose(task.predict.function(state, train["image"]), made, rtol=1e-5)
    distance = np.linalg.norm(made - train["target"], axis=1).mean()
    assert score["distance"] == pytest.approx(distance, rel=1e-3)
    assert score["distance"] < known.std() and abs(made[:, 1] - 0.1).max() < 1
    # Older runs, whose configs and specs know nothing of it, learn and say the targets as they are.
    for spec, standardise in (
        (dataset.spec, False),
        (dataclasses.replace(dataset.spec, target_mean=(), target_std=()), True),
    ):
        config = smoke_config(
            "classifier", **PLAIN, **data, task__target="vector", task__standardise=standardise
        )
        older = make_task(config, spec)
        ours = np.asarray(older.encode(state, train["image"], None)["outputs"])
        moments = (np.asarray(m) for m in (dataset.spec.target_mean, dataset.spec.target_std))
        mean, deviation = moments
        np.testing.assert_allclose(ours * deviation + mean, made, rtol=1e-4)
        assert not older.notes


def test_angles_are_drawn_by_image_and_scored_in_degrees() -> None:
    task, state, dataset = build("classifier", **PLAIN, task__target="angle", task__max_angle=40.0)
    scores = [
        make_evaluator(task, make_parallel("jit", 1), size, 0)(state, dataset.splits["eval"])
        for size in (16, 5)
    ]
    chex.assert_trees_all_close(*scores, rtol=1e-4)
    # Untrained it is right by chance only.
    assert 5 < scores[0]["error_degrees"] < 180
    _, found = learn(task, state, dataset, 1)
    assert set(found[0]) == {"loss", "error_degrees", "grad_norm/net"}


def test_the_right_answer_has_no_error() -> None:
    """An outputs layer that is set by hand: class 3, then 30 degrees, whatever the image."""
    for target, outputs, wanted in (
        ("label", np.eye(10)[3] * 50, {"accuracy": 0.1}),
        ("angle", np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)]), None),
    ):
        angle = {"task__max_angle": 0.0} if target == "angle" else {}
        task, state, dataset = build("classifier", **PLAIN, task__target=target, **angle)
        params = state.nets["net"].params
        params = {
            **params,
            "outputs": {
                "kernel": params["outputs"]["kernel"] * 0,
                "bias": outputs.astype(np.float32),
            },
        }
        state = state.replace(nets={"net": state.nets["net"].replace(params=params)})
        split = dataset.splits["train"]
        score = make_evaluator(task, make_parallel("jit", 1), 16, 0)(state, split)
        answers = task.predict.function(state, split.get(np.arange(2))["image"])
        if wanted:
            assert task.predict.probabilities and len(task.predict.names) == 10
            np.testing.assert_allclose(answers, np.eye(10)[[3, 3]], atol=1e-6)
            labels = split.get(np.arange(len(split)))["label"]
            assert score["accuracy"] == pytest.approx((labels == 3).mean())
        else:
            assert task.predict.names == ("degrees",) and not task.predict.probabilities
            np.testing.assert_allclose(answers, [[30], [30]], atol=1e-4)
            assert score["error_degrees"] == pytest.approx(30, abs=1e-3)
            assert score["loss"] == pytest.approx(2 - 2 * np.cos(np.pi / 6), rel=1e-4)


def test_encodes_to_features_and_outputs() -> None:
    task, state, dataset = build("classifier", **PLAIN)
    images = dataset.splits["eval"].get(np.arange(3))["image"]
    found = task.encode(state, images, jax.random.split(jax.random.key(0), 3))
    assert found["outputs"].shape == (3, 10) and found["features"].shape == (3, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(task__target="labels"), "did you mean 'label'"),
        (dict(task__target="vector", task__label_smoothing=0.0), "float vectors"),
        (dict(model__net="resnet"), "model.net.name='resnet'"),
        (dict(data__size=(4, 4)), "at least 8x8"),
        (dict(task__label_smoothing=1.0), "label_smoothing"),
        (dict(task__max_angle=10.0), "max_angle with task.target=label"),
        (dict(task__target="angle"), r"set task\.label_smoothing=0"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("classifier", **changes)


def test_scores_of_classes() -> None:
    """As computed by hand from the outputs; the split is padded to whole batches."""
    task, state, dataset = build("classifier", **PLAIN)
    state, _ = learn(task, state, dataset, 8)  # half learnt: it makes mistakes
    split = dataset.splits["train"]
    real = split.get(np.arange(len(split)))
    logits = np.asarray(task.encode(state, real["image"], None)["outputs"], np.float64)
    labels, said = real["label"], logits.argmax(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    score = make_evaluator(task, make_parallel("jit", 1), 9, 0)(state, split)
    assert set(score) == {"accuracy", "nll", "top5", "ece"}
    assert 0.1 < score["accuracy"] < 0.95 and score["accuracy"] < score["top5"]
    assert score["nll"] == pytest.approx(log_loss(labels, probabilities), rel=1e-4)
    top5 = top_k_accuracy_score(labels, logits, k=5, labels=np.arange(10))
    assert score["top5"] == pytest.approx(top5)
    assert score["ece"] == pytest.approx(
        expected_calibration_error(
            calibration_sums(logits=logits, labels=labels, mask=np.ones(len(labels)))
        ),
        rel=1e-4,
    )

    by_class = task.evaluation("by_class")
    found = make_evaluator(by_class, make_parallel("jit", 1), 9, 0)(state, split)
    for k in range(10):
        assert found[f"accuracy[{k}]"] == pytest.approx((said == labels)[labels == k].mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, said))
    expected = confusion_matrix(labels, said, labels=np.arange(10))
    assert (labels != said).any()
    np.testing.assert_array_equal(found["confusion"], expected)


def test_evaluations_by_name() -> None:
    task, _, _ = build("classifier", **PLAIN)
    with pytest.raises(UserError, match=r"evaluation of task 'classifier'='by_clas'.*'by_class'"):
        task.evaluation("by_clas")
    with pytest.raises(UserError, match=r"'samples' is not one of evaluation 'by_class'.*none"):
        task.evaluation("by_class", samples=3)
    task, _, _ = build("classifier", **PLAIN, task__target="angle")
    assert not task.evaluations
    task, _, _ = build("vae")
    with pytest.raises(UserError, match=r"option samples=0 is outside"):
        task.evaluation("nll", samples="0")
    with pytest.raises(UserError, match=r"option binarize='bernouli'.*did you mean 'bernoulli'"):
        task.evaluation("nll", binarize="bernouli")
    assert task.evaluation("nll", samples="7").options == {}
