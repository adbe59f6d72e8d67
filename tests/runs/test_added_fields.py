"""Runs from before a config field existed are sampled, evaluated and resumed as if they had it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import CONDITIONAL, SMOKE, refuse, succeed
from conftest import FAMILIES, smoke_config
from ml_collections import ConfigDict

from gan_jax.core.config import differences, flatten, from_json
from gan_jax.runs.added_fields import ADDED, Added, complete
from gan_jax.runs.writer import read_metrics

OPTIMIZER = "b1 b2 clip_norm lr name schedule warmup_steps weight_decay"
# The fields of the first runs (2026-11-23), by section. Never extended: what comes is in ADDED.
BASE = {
    "": "seed",
    "data": "channels dir fit holdout memory_gib name on_error path resize size source target_path",
    "eval": "batch_size best every grid",
    "train": "batch_size devices ema_decay keep log_every parallel sample_every save_every steps",
}
TRANSLATOR = {
    "task": "name adversarial_weight flip jitter l1_weight test_dropout",
    "model": "disc_layers disc_width dropout width",
    "optim.gen": OPTIMIZER,
    "optim.disc": OPTIMIZER,
}
FIRST = {
    "dcgan": {
        "task": "name disc_updates",
        "model": "conditional latent net width",
        "optim.gen": OPTIMIZER,
        "optim.disc": OPTIMIZER,
    },
    "vae": {
        "task": "name beta",
        "model": "latent likelihood net scale width",
        "optim.vae": OPTIMIZER,
    },
    "classifier": {
        "task": "name label_smoothing max_angle max_rotation max_scale max_shift target",
        "model": "dropout net stem width",
        "optim.net": OPTIMIZER,
    },
    "unet": TRANSLATOR,
    "pix2pix": TRANSLATOR,
}


def first_fields(name: str) -> set[str]:
    """Return the names of the fields that a config of the first day had."""
    sections = {**BASE, **FIRST[name]}
    return {f"{s}.{leaf}".lstrip(".") for s, text in sections.items() for leaf in text.split()}


def aged(config: dict, name: str) -> dict:
    """Return a config, as of its JSON, without the fields that the first day had not."""
    kept = first_fields(name)

    def keep(section: dict, prefix: str) -> dict:
        return {
            key: keep(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in section.items()
            if isinstance(value, dict) or prefix + key in kept
        }

    return keep(config, "")


def age(workdir: Path, name: str) -> None:
    """Take out of a run's config.json what the first day had not."""
    path = workdir / "config.json"
    path.write_text(json.dumps(aged(json.loads(path.read_text()), name)))


@pytest.mark.parametrize("name", FIRST)
def test_every_later_field_has_a_row(name: str) -> None:
    """A field without a row in gan_jax/runs/added_fields.py makes all runs before it unusable."""
    config = smoke_config(name)
    old = from_json(json.dumps(aged(config.to_dict(), name)))
    assert first_fields(name) == set(flatten(old)), "a field of the first day is gone"
    assert flatten(complete(old)).keys() == flatten(config).keys()
    assert old.is_locked


def test_rows_say_what_was_before() -> None:
    config = smoke_config("dcgan", model__width=12)
    config.model.disc_width = 7
    assert complete(config) == config and config.model.disc_width == 7, "nothing there is changed"
    old = complete(from_json(json.dumps(aged(config.to_dict(), "dcgan"))))
    assert (old.train.precision, old.task.loss, old.model.disc_norm) == (
        "float32",
        "non_saturating",
        "batch",
    )
    assert old.model.disc_width == 12, "one width was that of both networks"
    assert "loss" not in complete(smoke_config("vae")).task
    assert all("." in row.name for row in ADDED)
    assert len({row.name for row in ADDED}) == len(ADDED)


def test_a_gradient_penalty_of_a_run_moves_to_its_terms() -> None:
    """Before the terms of a loss had a section, `task.gradient_penalty` was its only one."""
    old = smoke_config("wgan_gp").to_dict()
    del old["terms"], old["augment"]
    old["task"]["gradient_penalty"] = 7.0
    config = complete(from_json(json.dumps(old)))
    assert config.terms.disc.gradient_penalty.weight == 7
    assert "gradient_penalty" not in config.task
    assert flatten(config).keys() == flatten(smoke_config("wgan_gp")).keys()


def test_rows_of_every_optimizer_and_of_new_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (Added("optim.*.eps", 1e-8), Added("augment.policy", "none", ("gan", "paired")))
    monkeypatch.setattr("gan_jax.runs.added_fields.ADDED", rows)
    gan, vae = (
        complete(ConfigDict({"task": {"name": name}, "optim": {"a": {}, "b": {"eps": 1.0}}}))
        for name in ("gan", "vae")
    )
    assert gan.optim.to_dict() == {"a": {"eps": 1e-8}, "b": {"eps": 1.0}}
    assert gan.augment.policy == "none" and "augment" not in vae


@pytest.mark.parametrize("name", FAMILIES)
def test_the_smoke_configs_changed_nothing_since(name: str) -> None:
    """The runs that the next test ages were trained with the values of the first day."""
    config = smoke_config(name)
    old = complete(from_json(json.dumps(aged(config.to_dict(), name))))
    assert differences(old, config) == ([], [])


def test_an_old_run_is_used_and_resumed(capsys: pytest.CaptureFixture, copied: Path) -> None:
    age(copied, "dcgan")
    run = f"--workdir={copied}"
    succeed(capsys, "--mode=sample", run, "--num=2", f"--output={copied / 'out'}")
    succeed(capsys, "--mode=eval", run)
    refuse(
        capsys,
        SMOKE,
        *CONDITIONAL,
        run,
        "--config.train.steps=3",
        "--config.model.disc_norm=none",
        says=["model.disc_norm: 'batch' -> 'none'"],
        keeps=copied,
    )
    succeed(capsys, SMOKE, *CONDITIONAL, run, "--config.train.steps=3")
    assert "disc_norm" in json.loads((copied / "config.json").read_text())["model"]
    age(copied, "dcgan")
    out = succeed(capsys, run, "--config.train.steps=4", "--config.train.steps_per_call=2")
    assert "train.steps_per_call: 0 -> 2" in out
    assert [line["step"] for line in read_metrics(copied) if "gen" in line] == [1, 2, 3, 4]
