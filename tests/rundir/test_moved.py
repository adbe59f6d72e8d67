"""Training data that were moved or extended after the run was trained on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import make_images, refuse, snapshot, succeed
from conftest import Trained, smoke_config

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.evaluation.protocol import Request
from gan_jax.evaluation.run_measures import measure_run
from gan_jax.rundir.workdir import read_config, read_spec, write_record
from gan_jax.rundir.writer import read_metrics

FIELDS = dict(data__source="folder", data__channels=0)


@pytest.fixture
def run(trained: Callable[..., Trained], tmp_path: Path) -> Path:
    """Return a run as if it had been trained on 40 grey images in tmp_path/photos."""
    workdir = Path(shutil.copytree(trained("vae").workdir, tmp_path / "run"))
    photos = make_images(tmp_path / "photos", [f"{i}.png" for i in range(40)])
    config = smoke_config("vae", data__path=str(photos), **FIELDS)
    write_record(workdir, config, open_data(config.data).spec, [])
    return workdir


def held_out(run: Path) -> int:
    return read_spec(run).counts["eval"]


def test_an_evaluation_finds_and_remembers_them(
    capsys: pytest.CaptureFixture, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = ["--mode=eval", f"--workdir={run}", "--checkpoint=2"]
    before = succeed(capsys, *evaluate)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    says = [str(tmp_path / "photos"), "is not there", "--config.data.path=DIR"]
    refuse(capsys, *evaluate, says=says, keeps=run)
    other = make_images(tmp_path / "other", [f"{i}.png" for i in range(30)])
    says = ["have changed", f"(train {30 - 8}", "--change"]
    refuse(capsys, *evaluate, f"--config.data.path={other}", says=says[:1], keeps=run)
    monkeypatch.chdir(tmp_path)
    spec = read_spec(run)
    assert succeed(capsys, *evaluate, "--config.data.path=elsewhere") == before
    assert read_config(run).data.path == str(tmp_path / "elsewhere") and read_spec(run) == spec
    monkeypatch.chdir("/")
    assert succeed(capsys, *evaluate) == before


def test_what_can_be_said_of_the_data_of_a_run(
    capsys: pytest.CaptureFixture, run: Path, tmp_path: Path
) -> None:
    for mode in ("eval", "sample"):
        command = [f"--mode={mode}", f"--workdir={run}"]
        says = ["--config.train.steps", "--config.data.path", "--config.data.on_error"]
        refuse(capsys, *command, "--config.train.steps=3", says=says, keeps=run)
        says = ["--config.data.dir", "data.source=folder"]
        refuse(capsys, *command, f"--config.data.dir={tmp_path}", says=says, keeps=run)
    with pytest.raises(UserError, match=r"'data\.size' is not known: one of data\.path"):
        gan_jax.load(run, data={"data.size": "8,8"})


def test_sampling_and_python_remember_them_too(
    capsys: pytest.CaptureFixture, run: Path, tmp_path: Path
) -> None:
    one = (tmp_path / "photos").rename(tmp_path / "one")
    sample = ["--mode=sample", f"--workdir={run}", "--num=1"]
    succeed(capsys, *sample, f"--config.data.path={one}")
    assert read_config(run).data.path == str(one)
    two = one.rename(tmp_path / "two")
    gan_jax.load(run, data={"data.path": str(two)})
    assert read_config(run).data.path == str(two)
    assert len(gan_jax.load(run).held_out()) == held_out(run)
    before = snapshot(run)
    gan_jax.load(run, data={"data.path": str(two)})
    assert snapshot(run) == before


def test_a_classifier_whose_data_moved(run: Path, tmp_path: Path) -> None:
    """The data path to mend is that of another run than the one that is evaluated."""
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    request = Request(("cas",), features=f"cnn:{run}")
    command = rf"python main\.py --mode=eval --workdir={run} --config\.data\.path=PLACE"
    with pytest.raises(UserError, match=command):
        measure_run("cas", None, request, seed=0, split="", options={})


def test_more_images_are_measured_where_that_is_asked_for(
    capsys: pytest.CaptureFixture, run: Path, tmp_path: Path
) -> None:
    old = read_spec(run)
    evaluate = ["--mode=eval", f"--workdir={run}", "--checkpoint=2"]
    make_images(tmp_path / "photos", [f"more/{i}.png" for i in range(20)])
    says = ["have changed", f"{old.fingerprint[:12]} (train {old.counts['train']}, ", "--change"]
    refuse(capsys, *evaluate, says=says, keeps=run)
    before = snapshot(run)
    out = succeed(capsys, *evaluate, "--change")
    assert f"note: the data have changed since the training: {old} -> " in out
    assert {k: v for k, v in snapshot(run).items() if "eval" not in k} == before
    found = json.loads((run / "eval" / "2.json").read_text())
    about = json.loads((run / "eval" / "2.about.json").read_text())
    (name,) = (name for name in found if name.startswith("elbo/"))
    now = int(name.rpartition("/")[2])
    assert now > old.counts["eval"] and about[name]["data"] != old.fingerprint
    out = succeed(capsys, "--mode=inspect", f"--workdir={run}")
    assert "the data have changed since it began" in " ".join(out.split())
    report = succeed(capsys, "--mode=report", f"--workdir={run}", "--metrics=elbo")
    assert f"data `{about[name]['data'][:8]}`" in report


def test_a_training_goes_on_with_other_values(
    capsys: pytest.CaptureFixture, run: Path, tmp_path: Path
) -> None:
    """Change learning rate, weight decay, batch size and images at once, and move the folder."""
    old = read_spec(run)
    photos = (tmp_path / "photos").rename(tmp_path / "elsewhere")
    make_images(photos, [f"more/{i}.png" for i in range(20)])
    resume = [f"--workdir={run}", "--config.train.steps=3", f"--config.data.path={photos}"]
    changed = ["--config.optim.encoder.lr=0.01", "--config.optim.decoder.weight_decay=0.1"]
    changed += ["--config.train.batch_size=16"]
    able = "optim.decoder.weight_decay, optim.encoder.lr"
    says = ["optim.encoder.lr: 0.001 -> 0.01", f"--change lets {able}"]
    refuse(capsys, *resume, *changed, says=says, keeps=run)
    refuse(capsys, *resume, says=["have changed", "--change"], keeps=run)
    out = succeed(capsys, *resume, *changed, "--change")
    assert "changed for this resume: optim.encoder.lr: 0.001 -> 0.01" in out
    new = read_spec(run)
    assert f"changed for this resume: data: {old} -> {new}" in out
    assert new.fingerprint != old.fingerprint and sum(new.counts.values()) == 60
    said = [
        "optim.decoder.weight_decay 0.0 -> 0.1 after step 2",
        "optim.encoder.lr 0.001 -> 0.01 after step 2",
        "train.batch_size 8 -> 16 after step 2",
        f"data {old} -> {new} after step 2",
    ]
    entries = json.loads((run / "changes.json").read_text())
    assert [(e["step"], e["field"]) for e in entries] == [(2, text.split()[0]) for text in said]
    loaded = gan_jax.load(run, checkpoint="latest")
    assert (loaded.step, int(loaded.state.position)) == (3, 2 * 8 + 16)
    assert read_metrics(run)[-1]["step"] == 3
    out = " ".join(succeed(capsys, "--mode=inspect", f"--workdir={run}").split())
    assert all(f"changed: {text}" in out for text in said)
    (run / "eval").mkdir(exist_ok=True)
    (run / "eval" / "3.json").write_text('{"elbo/eval/9": -1.0}')
    report = succeed(capsys, "--mode=report", f"--workdir={run}")
    assert f"run: {'; '.join(said)}." in report
    # From here on these are the run's values without a flag; the old ones are refused.
    refuse(capsys, *resume, "--config.optim.encoder.lr=0.001", says=["0.01 -> 0.001"], keeps=run)
    assert "is complete: 3 of 3" in succeed(capsys, *resume)


def test_relative_places_are_kept_absolute(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """An older run with a relative path is the same run if the path means the same folder."""
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["data"]["path"] = "photos"
    path.write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    out = succeed(capsys, f"--workdir={run}", f"--config.data.path={tmp_path / 'photos'}")
    assert "is complete" in out and "changed" not in out
