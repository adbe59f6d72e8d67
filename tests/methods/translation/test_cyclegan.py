"""CycleGAN: its losses term by term, what moves, and what its transforms are compared with."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from conftest import smoke_config
from learning import build, learn

from gan_jax.core.errors import UserError
from gan_jax.core.task import Phase
from gan_jax.data.pipeline import batches, eval_batches
from gan_jax.evaluation.evaluator import make_evaluator, metric_names
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import make_parallel

PLAIN = dict(task__flip=False, task__jitter=0, train__ema_decay=0.9)
FAST = dict(optim__gen__lr=5e-3, optim__gen__schedule="constant")  # of two steps: it ends at 0


def test_losses_history_and_transforms() -> None:
    task, state, dataset = build("cyclegan", task__pool=16, **PLAIN)
    assert set(state.nets) == {"gen_ab", "gen_ba", "disc_a", "disc_b"}
    assert state.nets["gen_ab"].ema is not None and state.nets["disc_a"].ema is None
    batch = next(batches(dataset.splits["train"], seed=0, position=0, batch_size=8, draws=[1]))
    images = {k: x.astype(np.float32) / 127.5 - 1 for k, x in batch.items()}
    step = jax.jit(task.train_step, static_argnums=0)
    new, metrics = step(Phase(), state, images, jax.random.key(3))
    ways = {
        k: jax.jit(lambda s, x, way=way: way.function(s, x, None, weights="raw"))
        for k, way in task.transforms.items()
    }
    a, b = images["image"][0], images["target"][0]
    fake_a, fake_b = ways["ba"](state, b), ways["ab"](state, a)

    def judge(state: object, name: str, x: object) -> np.ndarray:
        logits = jax.jit(task.modules[name].apply, static_argnames="train")
        return np.asarray(logits(state.nets[name].variables(), x, train=False))

    expected = {
        "gen_ab": np.square(judge(state, "disc_b", fake_b) - 1).mean(),
        "gen_ba": np.square(judge(state, "disc_a", fake_a) - 1).mean(),
        "cycle_a": abs(ways["aba"](state, a) - a).mean(),
        "cycle_b": abs(ways["bab"](state, b) - b).mean(),
        "identity_a": abs(ways["ba"](state, a) - a).mean(),
        "identity_b": abs(ways["ab"](state, b) - b).mean(),
        # The discriminators see the fakes of the generators as they were, out of an empty history.
        "disc_a": np.square(judge(state, "disc_a", a) - 1).mean() / 2
        + np.square(judge(state, "disc_a", fake_a)).mean() / 2,
        "disc_b": np.square(judge(state, "disc_b", b) - 1).mean() / 2
        + np.square(judge(state, "disc_b", fake_b)).mean() / 2,
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(float(value), rel=2e-4), name
    for name, fake in (("disc_a", fake_a), ("disc_b", fake_b)):
        pool = new.buffers["pools"][name]
        assert pool["filled"] == 8 and not np.asarray(pool["images"][8:]).any()
        np.testing.assert_allclose(pool["images"][:8], fake, atol=1e-5)
    for name in state.nets:
        before, after = (jax.tree.leaves(s.nets[name].params) for s in (state, new))
        assert all((x != y).any() for x, y in zip(before, after, strict=True)), name


def test_it_learns_and_is_scored_on_pairs_or_domains() -> None:
    task, state, dataset = build(
        "cyclegan", data__eval_pairs=True, task__identity=0.0, **FAST, **PLAIN
    )
    state, found = learn(task, state, dataset, 30)
    assert found[-1]["cycle_a"] < 0.8 * found[0]["cycle_a"] and "identity_a" not in found[0]
    parallel, split = make_parallel("jit", 1), dataset.splits["eval"]
    score = make_evaluator(task, parallel, 5, 0)(state, split)
    assert set(score) == {
        f"{m}[{way}]" for m in ("l1", "psnr", "ssim") for way in ("ab", "ba", "aba", "bab")
    }
    assert set(metric_names(task, dataset.spec, state)) == set(score)
    batch = split.get(np.arange(len(split)))
    made = task.transform("ba").function(state, batch["target"], None, weights="ema")
    assert score["l1[ba]"] == pytest.approx(float(abs(made - batch["image"]).mean()), rel=1e-3)
    grids = task.grids(state, next(eval_batches(split, 4)), jax.random.key(0))
    assert {k: x.shape for k, x in grids.items()} == {
        f"input_output_{way}": (4, columns, 16, 16, 1)
        for way, columns in (("ab", 3), ("ba", 3), ("aba", 2), ("bab", 2))
    }
    apart, _, unpaired = build("cyclegan")
    assert not apart.transforms["ab"].paired and apart.transforms["aba"].paired
    names = set(metric_names(apart, unpaired.spec, state))
    assert names == {f"{m}[{way}]" for m in ("l1", "psnr", "ssim") for way in ("aba", "bab")}


def test_terms_are_of_each_network_of_a_role() -> None:
    task, state, dataset = build("cyclegan", terms__disc__r1=1.0, terms__gen__orthogonal=0.1)
    _, found = learn(task, state, dataset, 1)
    names = {"disc_a/r1", "disc_b/r1", "gen_ab/orthogonal", "gen_ba/orthogonal"}
    assert names <= set(found[0]) and all(found[0][name] > 0 for name in names)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(data__target_path="", data__unpaired=False), "target_path=DIR"),
        (dict(data__size=(18, 16)), "divide by 4"),
        (dict(model__gen="unet", data__size=(12, 12)), "divide by 8"),
    ],
)
def test_refuses(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        build("cyclegan", **changes)


def test_domains_of_unlike_channels_have_no_identity() -> None:
    _, _, dataset = build("cyclegan")
    streams = dict(dataset.spec.streams)
    streams["target"] = dataclasses.replace(streams["target"], shape=(16, 16, 3))
    spec = dataclasses.replace(dataset.spec, streams=streams)
    with pytest.raises(UserError, match="takes images of its source domain only: set it to 0"):
        make_task(smoke_config("cyclegan"), spec)
    task = make_task(smoke_config("cyclegan", task__identity=0.0), spec)
    assert task.transforms["ab"].source == "image"
