"""Runs of every earlier schema are sampled, evaluated and resumed like new ones.

`schemas/N` is a run of two steps as written by the version with that schema:
`python main.py --config=configs/dcgan.py:smoke --config.model.conditional=projection
--config.terms.disc.lecam=0.1 --config.train.save_every=2 --config.train.keep=1
--config.train.devices=1`, without its pictures, TensorBoard events and environment. `N_vae`, and
all from schema 2 on, use `--config=configs/vae.py:smoke` with the last three fields; `1_vae` exists
because schema 2 split a VAE's network in two.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import refuse, succeed

import gan_jax
from gan_jax.core.config import flatten
from gan_jax.rundir import schema
from gan_jax.rundir.workdir import read_config
from gan_jax.rundir.writer import read_metrics

KEPT = Path(__file__).with_name("schemas")
RUNS = sorted(path.name for path in KEPT.iterdir())


def test_every_schema_has_a_run_and_a_way_on() -> None:
    assert {name.partition("_")[0] for name in RUNS} == {
        str(number) for number in range(1, schema.SCHEMA + 1)
    }
    assert set(schema.MIGRATIONS) == set(range(1, schema.SCHEMA))
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) < 2**20


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_it_is_used_and_resumed(
    name: str, capsys: pytest.CaptureFixture, workdir: Path
) -> None:
    shutil.copytree(KEPT / name, workdir)
    number = int(name.partition("_")[0])
    assert json.loads((workdir / "config.json").read_text())["schema"] == number
    run = f"--workdir={workdir}"
    succeed(capsys, "--mode=sample", run, "--num=2", f"--output={workdir / 'out'}")
    succeed(capsys, "--mode=eval", run)
    assert gan_jax.load(workdir).step == 2
    succeed(capsys, run, "--config.train.steps=3", "--config.train.devices=1")
    assert [row["step"] for row in read_metrics(workdir)][-1] == 3
    assert json.loads((workdir / "config.json").read_text())["schema"] == schema.SCHEMA


def test_what_config_json_says_is_read_as_it_was_written(workdir: Path) -> None:
    shutil.copytree(KEPT / str(schema.SCHEMA), workdir)
    record = json.loads((workdir / "config.json").read_text())
    config = read_config(workdir)
    assert "schema" not in flatten(config) and config.is_locked
    assert {"schema": schema.SCHEMA, **json.loads(json.dumps(config.to_dict()))} == record


def test_migrations_follow_each_other(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(old: str, new: str):
        return lambda config: {**{k: v for k, v in config.items() if k != old}, new: config[old]}

    monkeypatch.setattr(schema, "SCHEMA", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: renamed("a", "b"), 2: renamed("b", "c")})
    assert schema.migrated(workdir, {"schema": 1, "a": 5}) == {"c": 5}
    assert schema.migrated(workdir, {"schema": 2, "b": 5}) == {"c": 5}
    assert schema.migrated(workdir, {"schema": 3, "c": 5}) == {"c": 5}


@pytest.mark.parametrize(
    ("number", "says"), [(None, "no schema number"), (0, "no schema number"), (99, "newer version")]
)
def test_other_schemas_are_refused(
    number: int | None, says: str, capsys: pytest.CaptureFixture, workdir: Path
) -> None:
    shutil.copytree(KEPT / str(schema.SCHEMA), workdir)
    record = json.loads((workdir / "config.json").read_text())
    record.pop("schema")
    record |= {} if number is None else {"schema": number}
    (workdir / "config.json").write_text(json.dumps(record))
    refuse(capsys, "--mode=sample", f"--workdir={workdir}", "--num=2", says=[says], keeps=workdir)
