"""Paired translation: with and without its discriminator."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from learning import build, learn

from gan_jax.core.errors import UserError
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.objectives.image import l1
from gan_jax.parallel.mesh import make_parallel


def test_the_unet_learns_and_is_scored() -> None:
    task, state, dataset = build("unet", task__jitter=0, optim__gen__lr=5e-3)
    assert set(state.nets) == {"gen"} == set(task.modules)
    state, found = learn(task, state, dataset, 25)
    assert found[-1]["l1"] < 0.7 * found[0]["l1"]
    score = make_evaluator(task, make_parallel("jit", 1), 5, 0)(state, dataset.splits["eval"])
    split = dataset.splits["eval"]
    batch = split.get(np.arange(len(split)))
    keys = jax.random.split(jax.random.key(0), len(split))
    made = task.transform().function(state, batch["image"], keys, weights="ema", dropout=False)
    assert score["l1"] == pytest.approx(
        float(l1(prediction=made, target=batch["target"]).mean()), rel=1e-4
    )
    assert 0 < score["psnr"] < 60 and -1 <= score["ssim"] <= 1
    grid = task.grids(state, {k: x[:4] for k, x in batch.items()}, jax.random.key(0))
    shown = grid["input_output_target"]
    assert shown.shape == (4, 3, 16, 16, 1)
    np.testing.assert_array_equal(shown[:, 0], batch["image"][:4])
    np.testing.assert_array_equal(shown[:, 2], batch["target"][:4])
    np.testing.assert_allclose(shown[:, 1], made[:4], atol=1e-5)


def test_pix2pix_trains_both_and_weighs_its_losses() -> None:
    task, state, dataset = build("pix2pix")
    assert set(state.nets) == {"gen", "disc"}
    new, found = learn(task, state, dataset, 2)
    judged = {f"{what}/{of}" for what in ("logits", "accuracy") for of in ("real", "fake")}
    norms = {"grad_norm/gen", "grad_norm/disc"}
    assert set(found[0]) == {"gen", "l1", "disc", *judged, *norms}
    for name in state.nets:
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), state.nets[name].params, new.nets[name].params
        )
        assert all(jax.tree.leaves(moved)), name
    assert found[0]["disc"] == pytest.approx(np.log(2), abs=0.3), "the loss is halved"


def test_dropout_is_the_noise_of_a_translation() -> None:
    task, state, dataset = build("pix2pix")
    images = dataset.splits["eval"].get(np.arange(2))["image"]
    keys = jax.random.split(jax.random.key(0), 2)
    other = jax.random.split(jax.random.key(1), 2)
    translate = jax.jit(task.transform().function, static_argnames=("weights", "dropout"))
    one, same, two = (
        translate(state, images, k, weights="ema", dropout=True) for k in (keys, keys, other)
    )
    np.testing.assert_array_equal(one, same)
    assert abs(one - two).max() > 0
    still = [translate(state, images, k, weights="ema", dropout=False) for k in (keys, other)]
    np.testing.assert_array_equal(*still)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("unet", dict(data__target_path=""), "target_path"),
        ("unet", dict(data__size=(12, 12)), "divide by 8"),
        ("pix2pix", dict(model__disc__layers=3), "disc.layers=3"),
    ],
)
def test_refuses(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, **changes)
