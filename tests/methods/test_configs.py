"""Configs made in Python: completed and checked as those of files are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import FAMILIES
from ml_collections import ConfigDict

import gan_jax
from gan_jax.core.config import flatten
from gan_jax.core.errors import UserError

NET = dict(name="dcgan", width=4)
# The least that says what to train.
GAN: dict[str, Any] = dict(
    task="gan",
    model=dict(gen=NET, disc=NET, latent=8),
    optim=dict(gen=dict(name="adam", lr=1e-3), disc=dict(name="adam", lr=1e-3)),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_config_is_loaded_as_it_is(family: str) -> None:
    config = gan_jax.load_config(f"configs/{family}.py:smoke")
    for given in (config, config.to_dict()):
        again = gan_jax.load_config(given)
        assert again.to_dict() == config.to_dict() and again.is_locked
        assert again is not config


def test_what_is_left_out_is_the_default() -> None:
    config = gan_jax.load_config(
        {
            **GAN,
            "seed": np.int64(3),
            "model": {**GAN["model"], "latent": np.int32(8)},
            "data": {"size": [8, 16]},
            "train": {"steps": 2.0, "ema_decay": 0},
        },
        {"optim.gen.lr": np.float64(1e-4), "train.fsdp": 2, "data.flip": True},
    )
    default = gan_jax.load_config(GAN)
    changed = {k for k, v in flatten(config).items() if flatten(default)[k] != v}
    assert changed == {
        *("seed", "data.size", "data.flip", "train.steps", "train.fsdp", "optim.gen.lr")
    }
    assert config.data.size == (8, 16) and config.data.flip is True
    assert (config.train.steps, config.train.fsdp, config.optim.gen.lr) == (2, 2, 1e-4)
    assert type(config.train.ema_decay) is float and type(config.train.steps) is int
    assert type(config.seed) is int and type(config.model.latent) is int
    of_file = gan_jax.load_config("configs/dcgan.py:smoke")
    assert flatten(default).keys() == flatten(of_file).keys()


def test_what_is_given_stays_as_it_is() -> None:
    given = ConfigDict({**GAN, "train": {"steps": 5}})
    text = str(given)
    assert gan_jax.load_config(given, {"train.steps": "7"}).train.steps == 7
    assert str(given) == text and not given.is_locked


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": {}}, "task.name=None is not known: one of gan, vae"),
        ({"task": "gam"}, "did you mean 'gan'"),
        ({"train": {"stepz": 5}}, "'train.stepz'; did you mean 'train.steps'"),
        ({"train": 5}, "a field that is none, 'train'"),
        ({"train": {"steps": 1.5}}, "train.steps='1.5' is not of type int"),
        ({"train": {"steps": 0}}, "train.steps=0: at least 1"),
        ({"data": {"source": 3}}, "data.source=3 is not of type str"),
        ({"tran": {"steps": 3}}, "has no field 'tran.steps'"),
        ({"model": 5}, "config.model=5: a section"),
        ({"optim": {"gen": 5}}, "config.optim.gen=5 is no section"),
        ({"terms": {"disc": 5}}, "config.terms.disc=5 is no section"),
        ({"terms": {"disc": {"r1": "x"}}}, "config.terms.disc.r1='x' is no section"),
        ({"model": {**GAN["model"], "gen": "dcgn"}}, "did you mean 'dcgan'"),
        ({"seed": -1}, "seed=-1: a whole number"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        gan_jax.load_config({**GAN, **change})
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_config() -> None:
    with pytest.raises(UserError, match="config=7: a file's name, a ConfigDict or a dict"):
        gan_jax.load_config(7)
    with pytest.raises(UserError, match=r"train\.batch_size=0: at least 1"):  # of a file, too
        gan_jax.load_config("configs/quickstart.py", {"train.batch_size": 0})
