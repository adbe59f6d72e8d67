"""Restorers: pairs and patches, losses by hand, and what does not fit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learning import build, learn

from gan_jax.core.errors import UserError
from gan_jax.core.images import to_float
from gan_jax.core.task import Phase
from gan_jax.data.degrade import blur, downscale, noise
from gan_jax.data.pipeline import batches
from gan_jax.methods.restoration.inpainting import composite
from gan_jax.methods.restoration.restorer import Pairs, Patches, training_pairs
from gan_jax.objectives.colour_classes import bin_counts
from gan_jax.ops.colour import rgb_to_lab
from gan_jax.parallel.axes import example_keys

RNG = np.random.default_rng(0)
KEY = jax.random.key(5)


def images(*shape: int) -> np.ndarray:
    return (2 * RNG.integers(0, 256, shape) / 255 - 1).astype(np.float32)


@pytest.mark.parametrize("degradation", [downscale(scale=3), blur(sigma=1.0)])
def test_a_patch_is_degraded_as_within_its_photograph(degradation: Any) -> None:
    clean = images(3, 60, 48, 3)
    pairs = Pairs(degradation, "image", (60, 48, 3), 3, degradation.scale)
    patches = Patches(patch=12, flip=False, turn=False)
    make = jax.jit(lambda x, key: training_pairs(pairs, patches, {"image": x}, key))
    low, high = (np.asarray(x) for x in make(clean, KEY))
    scale = degradation.scale
    assert high.shape == (3, 12, 12, 3) and low.shape == (3, 12 // scale, 12 // scale, 3)
    whole = np.asarray(degradation.apply(jnp.asarray(clean), jax.random.split(KEY, 3)))
    places = set()
    for i in range(3):
        found = [
            (y, x)
            for y in range(0, 60 - 11, scale)
            for x in range(0, 48 - 11, scale)
            if np.array_equal(clean[i, y : y + 12, x : x + 12], high[i])
        ]
        assert len(found) == 1
        places.add(found[0])
        y, x = (place // scale for place in found[0])
        expected = whole[i, y : y + low.shape[1], x : x + low.shape[2]]
        np.testing.assert_allclose(low[i], expected, atol=1e-6)
    assert len(places) == 3
    other = make(clean, jax.random.key(6))[1]
    assert not np.array_equal(other, high)


def test_both_halves_of_a_pair_are_cut_and_turned_alike() -> None:
    low = images(32, 20, 20, 1)
    high = low.repeat(2, 1).repeat(2, 2)
    pairs = Pairs(None, "target", (40, 40, 1), 1, 2)
    patches = Patches(patch=12, flip=True, turn=True)
    batch = {"image": low, "target": high}
    a, b = jax.jit(lambda batch: training_pairs(pairs, patches, batch, KEY))(batch)
    assert a.shape == (32, 6, 6, 1) and b.shape == (32, 12, 12, 1)
    np.testing.assert_array_equal(b[:, ::2, ::2], a)
    # All eight orientations of the first example, among 32: each place is looked at.
    forms = set()
    for i, patch in enumerate(np.asarray(a)[..., 0]):
        for turns in range(4):
            for flipped in (False, True):
                back = np.rot90(patch, -turns)
                back = back[:, ::-1] if flipped else back
                windows = np.lib.stride_tricks.sliding_window_view(low[i, ..., 0], (6, 6))
                if (windows == back).all((2, 3)).any():
                    forms.add((turns, flipped))
    assert len(forms) == 8


def test_examples_are_degraded_alike_in_evaluation_and_anew_in_training() -> None:
    task, state, dataset = build("dncnn")
    split = dataset.splits["eval"]
    batch = {**split.get(np.arange(4)), "index": np.arange(4, dtype=np.int32)}
    step = jax.jit(task.eval_step)
    first = step(state, {**batch, "mask": np.ones(4, np.float32)}, KEY)
    alone = step(
        state,
        {k: np.roll(x, 1, 0) for k, x in {**batch, "mask": np.eye(4, dtype=np.float32)[2]}.items()},
        KEY,
    )
    turn = {k: np.roll(x, 1, 0) for k, x in batch.items()}
    other = step(state, {**turn, "mask": np.ones(4, np.float32)}, KEY)
    np.testing.assert_allclose(first["psnr"], other["psnr"], rtol=1e-5)
    assert float(alone["count"]) == 1
    train = {"image": batch["image"][None]}
    learn = jax.jit(task.train_step, static_argnums=0)
    losses = [float(learn(Phase(), state, train, jax.random.key(i))[1]["l1"]) for i in (0, 1)]
    assert losses[0] != losses[1]


def test_edsr_learns_and_starts_from_the_enlarged_image() -> None:
    task, state, dataset = build("edsr", optim__net__lr=3e-3, optim__net__schedule="constant")
    transform = task.transform()
    assert (transform.scale, transform.multiple, transform.protocol) == (2, 1, "x2")
    state, found = learn(task, state, dataset, 30)
    assert found[-1]["l1"] < 0.9 * found[0]["l1"]
    batch = dataset.splits["eval"].get(np.arange(4))
    grid = task.grids(state, batch, KEY)["input_output_target_bicubic"]
    assert grid.shape == (4, 4, 16, 16, 3)
    np.testing.assert_array_equal(grid[:, 2], batch["image"])


def test_inpainting_keeps_what_is_known() -> None:
    task, state, dataset = build("inpaint")
    clean = dataset.splits["eval"].get(np.arange(4))["image"]
    transform = task.transform()
    assert transform.takes_mask and transform.multiple == 8
    keys = jax.random.split(KEY, 4)
    masked = transform.inputs({"image": clean}, keys)
    made = transform.function(state, masked, keys, weights="ema")
    hidden = np.asarray(masked[..., -1:] > 0)
    assert hidden.any() and not hidden.all()
    np.testing.assert_array_equal(np.where(hidden, 0, made), np.where(hidden, 0, clean))
    assert (np.where(hidden, made - clean, 0) != 0).any()
    outputs = np.zeros_like(clean)
    np.testing.assert_array_equal(composite(masked, outputs), np.where(hidden, outputs, clean))


def test_the_loss_of_inpainting_by_hand() -> None:
    task, state, dataset = build("inpaint", task__flip=False, task__turn=False)
    clean = dataset.splits["train"].get(np.arange(8))["image"]
    step = jax.jit(task.train_step, static_argnums=0)
    _, metrics = step(Phase(), state, {"image": clean[None]}, KEY)
    degrade_key = jax.random.split(jax.random.split(KEY)[0], 4)[3]
    masked = task.transform().inputs({"image": clean}, example_keys(degrade_key, 8))
    made, _ = task.modules["net"].apply(
        state.nets["net"].variables(), masked, train=True, mutable=["batch_stats"]
    )
    hidden = np.asarray(masked[..., -1:] > 0)
    error = np.abs(np.asarray(made) - clean)
    np.testing.assert_allclose(metrics["hole"], (hidden * error).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["known"], (~hidden * error).mean(), rtol=1e-4)


def test_colours_come_from_luma_alone() -> None:
    task, state, dataset = build("colorize")
    clean = dataset.splits["eval"].get(np.arange(3))["image"]
    transform, keys = task.transform(), jax.random.split(KEY, 3)
    grey = transform.inputs({"image": clean}, keys)
    assert grey.shape[-1] == 1 == transform.channels
    made = np.asarray(transform.function(state, grey, keys, weights="ema"))
    assert made.shape == clean.shape and np.abs(made).max() <= 1


def test_colours_as_classes() -> None:
    task, state, dataset = build("colorize", task__output="classes", task__flip=False)
    before = np.asarray(state.buffers["colours"])
    np.testing.assert_allclose(before.sum(), 1, rtol=1e-5)
    state, found = learn(task, state, dataset, 2)
    seen = np.asarray(state.buffers["colours"]) - before
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=16, draws=[1, 1])
    images = [to_float(batch["image"][0]) for batch in source]
    expected = sum(bin_counts(rgb_to_lab(x)[..., 1:]) for x in images) / images[0][..., 0].size
    np.testing.assert_allclose(seen, expected, rtol=1e-3, atol=1e-6)
    assert np.isfinite(found[-1]["cross_entropy"]) and found[0]["cross_entropy"] > 0


def test_srgan_trains_both_networks() -> None:
    task, state, dataset = build("srgan")
    assert set(state.nets) == {"net", "disc"}
    new, found = learn(task, state, dataset, 2)
    assert {"gen", "l1", "perceptual", "disc", "grad_norm/net", "grad_norm/disc"} <= set(found[0])
    for name in state.nets:
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), state.nets[name].params, new.nets[name].params
        )
        assert any(jax.tree.leaves(moved)), name


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("edsr", dict(degrade__scale=3), ["degrade.scale=3", "16x16", "data.size"]),
        ("edsr", dict(degrade="none"), ["degrade=none", "no targets", "--config.degrade=noise"]),
        ("edsr", dict(data__target_path="synthetic"), ["degrade=downscale with pairs"]),
        ("edsr", dict(task__patch=7), ["task.patch=7", "multiple of 2", "at most 4"]),
        ("edsr", dict(model__net="dncnn"), ["model.net=dncnn", "8x8", "16x16", "edsr"]),
        ("edsr", dict(task__distance="l3"), ["task.distance", "l3", "charbonnier"]),
        ("inpaint", dict(degrade="noise"), ["degrade=noise", "set degrade=mask"]),
        ("colorize", dict(degrade="noise"), ["degrade=noise", "degrade=grey"]),
        ("dncnn", dict(degrade__sigma=-1.0), ["sigma=-1"]),
    ],
)
def test_what_does_not_fit_is_refused(name: str, changes: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(UserError) as error:
        build(name, **changes)
    assert all(text in str(error.value) for text in says), str(error.value)


def test_a_pair_keeps_its_noise_unclipped() -> None:
    clean = np.ones((2, 16, 16, 1), np.float32)
    made = noise(sigma=25.0).apply(jnp.asarray(clean), jax.random.split(KEY, 2))
    assert float(jnp.max(made)) > 1.1
