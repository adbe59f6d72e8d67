"""Training from another run's networks, with and without frozen layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest
from conftest import smoke_config

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.experiment.train import train
from gan_jax.objectives.weights import stage_of


def config_from(source: Path, **changes: Any) -> Any:
    config = smoke_config("dcgan", model__conditional="projection", train__devices=1, **changes)
    config.train.update(dict(init_from=str(source), steps=1, sample_every=0))
    return config


def test_frozen_stages_stay_those_of_the_other_run(gan: Path, tmp_path: Path) -> None:
    theirs = gan_jax.load(gan).state
    source = Path(shutil.copytree(gan, tmp_path / "source"))
    config = config_from(source, task__freeze_disc=1, seed=7)
    train(config, tmp_path / "run")
    shutil.rmtree(source)
    mine = gan_jax.load(tmp_path / "run").state
    assert (int(mine.step), int(mine.position)) == (1, config.train.batch_size)
    before, after = (s.nets["disc"].params for s in (theirs, mine))
    chex.assert_trees_all_equal(before["down0"], after["down0"])
    for name in before.keys() - {"down0"}:
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before[name], after[name])
        # One Adam step from the other run's weights, not from new ones.
        assert 0 < max(jax.tree.leaves(moved)) < 3 * config.optim.disc.lr, (name, moved)
    for net in ("gen", "disc"):
        assert int(jax.tree.leaves(mine.nets[net].opt_state)[0]) == 1, "optimizers start anew"
    config.train.steps = 2
    assert train(config, tmp_path / "run").step == 2, "a resume does not need the other run"


def test_what_cannot_be_transferred_is_refused(gan: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        train(config_from(tmp_path / "nothing"), tmp_path / "run")
    with pytest.raises(UserError, match=r"network '(gen|disc)' differs, .* there and"):
        train(config_from(gan, model__disc__width=8), tmp_path / "run")
    vae = smoke_config("vae", train__devices=1, train__init_from=str(gan))
    with pytest.raises(
        UserError, match="has the networks disc, gen, and this task decoder, encoder"
    ):
        train(vae, tmp_path / "run")
    with pytest.raises(UserError, match=r"freeze_disc=9: model\.disc\.name=dcgan has 2 stages"):
        train(config_from(gan, task__freeze_disc=9), tmp_path / "run")
    decaying = config_from(gan, task__freeze_disc=1, optim__disc__weight_decay=0.1)
    with pytest.raises(UserError, match="would change the frozen weights"):
        train(decaying, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_stages_are_numbered_in_their_names() -> None:
    names = ("down0", "norm1", "block12_conv_a", "logits", "class", "minibatch")
    assert [stage_of(name) for name in names] == [0, 1, 12, None, None, None]
