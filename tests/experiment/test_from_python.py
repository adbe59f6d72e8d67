"""`gan_jax.train`: its arguments and its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import snapshot
from conftest import Trained

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.rundir.workdir import read_config


def test_forms_of_a_config(
    copied: Path, trained: Callable[..., Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    """A path and a dict work like the result of load_config; outcomes describe the run."""
    config = read_config(copied)
    complete = gan_jax.train(config, str(copied))
    assert repr(complete) == f"complete: step 2 of 2\n  run = gan_jax.load({str(copied)!r})"
    classifier = trained("classifier").workdir
    assert gan_jax.train("configs/classifier.py:smoke", classifier).status == "complete"
    before = snapshot(copied)
    with pytest.raises(UserError, match=r"train\.log_every=-1: at least"):
        gan_jax.train({**config.to_dict(), "train": {"log_every": -1}}, copied)
    with pytest.raises(UserError, match=r"no config file 'configs/quikstart\.py'; did you mean"):
        gan_jax.train("configs/quikstart.py", copied)
    assert snapshot(copied) == before
    longer = gan_jax.load_config(config, {"train.steps": 3})
    outcome = gan_jax.train(longer.to_dict(), copied)
    assert (outcome.status, outcome.step, outcome.steps) == ("trained", 3, 3)
    assert outcome.workdir == copied and outcome.can == ("sample",)
    text = repr(outcome)
    assert text.startswith("trained: step 3 of 3, ") and text.endswith(f"load({str(copied)!r})")
    assert gan_jax.load(copied).step == 3
    assert "step 3/3" in capsys.readouterr().out
