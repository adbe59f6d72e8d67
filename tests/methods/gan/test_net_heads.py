"""Heads other than projection on SAGAN, the BigGANs and ProGAN: they learn, or are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from conftest import smoke_config
from learning import build

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.methods.registry import make_task
from gan_jax.training.step import make_step

NETS = ("sagan", "biggan", "biggan_deep", "progan")
# The layers of each head; "concat" has none, its planes enter the first convolution.
HEADS = {
    "classifier": ("classifier",),
    "contrastive": ("embedding", "proxy"),
    "d2d_ce": ("embedding", "proxy"),
    "concat": (),
}
CHEAP = (("progan", "classifier"),)


def headed(head: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"model__conditional": head}
    if head in ("contrastive", "d2d_ce"):
        fields["model__conditional__embedding"] = 4
    terms = {f"terms__{player}__{head}": 1.0 for player in ("disc", "gen")}
    return {**fields, **(terms if HEADS[head] else {})}


@pytest.mark.parametrize(
    ("net", "head"),
    [
        pytest.param(net, head, marks=() if (net, head) in CHEAP else pytest.mark.slow)
        for net in NETS
        for head in HEADS
    ],
)
def test_every_head_learns(net: str, head: str) -> None:
    """By plain SGD, under which a parameter whose gradient is 0 stays what it is."""
    plain = {
        f"optim__{player}__{field}": value
        for player in ("gen", "disc")
        for field, value in (("name", "sgd"), ("lr", 0.1))
    }
    task, state, dataset = build(net, task__disc_updates=1, **headed(head), **plain)
    before = state.nets["disc"].params
    step = jax.jit(make_step(task, 8), static_argnums=0)
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=8, draws=[1, 1])
    for i, batch in enumerate(source):
        state, metrics = step(task.phase(i), state, batch, jax.random.key(1))
        assert all(np.isfinite(float(x)) for x in metrics.values()), metrics
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state))
    moved = jax.tree.map(lambda a, b: abs(np.asarray(a - b)), state.nets["disc"].params, before)
    for layer in HEADS[head]:
        assert all(x.max() > 0 for x in jax.tree.leaves(moved[layer])), layer
    assert (f"gen/{head}" in metrics) == bool(HEADS[head])
    planes = [
        layer["kernel"][:, :, 1:].max()
        for layer in moved.values()
        if layer.get("kernel", np.zeros(())).ndim == 4 and layer["kernel"].shape[2] == 1 + 10
    ]
    assert bool(planes) == (head == "concat") and (not planes or max(planes) > 0)


@pytest.mark.parametrize(
    "net", [pytest.param(n, marks=() if n == "progan" else pytest.mark.slow) for n in NETS]
)
def test_a_head_its_terms_and_labels_go_together(net: str) -> None:
    lacking = {**headed("classifier"), "terms__gen__classifier": 0.0}
    foreign = {**headed("d2d_ce"), "model__conditional": "projection"}
    del foreign["model__conditional__embedding"]
    for changes, says in (
        (lacking, r"terms\.gen\.classifier is not there with model\.conditional=classifier"),
        (foreign, r"terms\.disc\.d2d_ce is there with model\.conditional=projection"),
    ):
        config = smoke_config(net, **changes)
        with pytest.raises(UserError, match=says):
            make_task(config, open_data(config.data).spec)
    for head in HEADS:
        config = smoke_config(net, **headed(head))
        unlabelled = dataclasses.replace(open_data(config.data).spec, num_classes=0)
        with pytest.raises(UserError, match=f"model.conditional={head} needs labels"):
            make_task(config, unlabelled)
