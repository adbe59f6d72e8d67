"""Checkpoints of schema 1, where a VAE was one network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import refuse, succeed
from learning import build

from gan_jax.core.state import NetState, new_state
from gan_jax.rundir import layouts, schema

RUN = Path(__file__).with_name("schemas") / "1_vae"


def test_joined_and_parted_are_each_others_inverse() -> None:
    _, state, _ = build("vae", optim__encoder__clip_norm=1.0, optim__decoder__clip_norm=1.0)
    whole = layouts.to_schema_1(state)
    assert layouts.is_schema_1(["vae"], state) and set(whole.nets) == {"vae"}
    assert set(whole.nets["vae"].params) == {"encoder", "decoder"}
    again = layouts.from_schema_1(whole)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    # No arrays are shared: the state is donated.
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(again.nets)]
    assert len(set(pointers)) == len(pointers)


def test_others_are_left_as_they_are() -> None:
    net = NetState(params={"w": jnp.ones(2)}, extra={}, opt_state=(), ema=None)
    both = {"encoder": net, "decoder": net}
    assert not layouts.is_schema_1(["encoder", "decoder"], new_state(both))
    assert not layouts.is_schema_1(["vae"], new_state({"gen": net}))
    assert not layouts.is_schema_1(["vae"], new_state(both, {"terms": {"a": jnp.ones(2)}}))


def test_a_run_of_schema_1_scores_as_it_did(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    """The run's own evaluation of the moving average, at its last step."""
    shutil.copytree(RUN, workdir)
    succeed(capsys, "--mode=eval", f"--workdir={workdir}")
    found = json.loads((workdir / "eval" / "2.json").read_text())
    assert found["elbo/eval/16"] == pytest.approx(-177.91912, abs=1e-4)


def test_a_vae_of_ones_own_of_schema_1_says_train_anew(
    capsys: pytest.CaptureFixture, workdir: Path
) -> None:
    shutil.copytree(RUN, workdir)
    config = (workdir / "config.json").read_text()
    assert '"conv"' in config and schema.SCHEMA >= 2
    (workdir / "config.json").write_text(config.replace('"conv"', '"own_nets:VAE"'))
    says = ["own_nets:VAE", "train it anew"]
    refuse(capsys, "--mode=eval", f"--workdir={workdir}", says=says, keeps=workdir)
