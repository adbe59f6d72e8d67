"""Paths: `~`, variables and relative paths mean the same on the command line and in a config."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import make_images, refuse
from conftest import ROOT, smoke_config
from ml_collections import ConfigDict

import main
from gan_jax.cli.flags import make_parser
from gan_jax.core.config import check_seed, differences
from gan_jax.core.errors import UserError
from gan_jax.core.places import absolute_places, is_place, place
from gan_jax.data import open_data
from gan_jax.methods.configs import load_config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder that is the test's working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PHOTOS", "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(path: str, **changes: object) -> ConfigDict:
    fields = dict(data__source="folder", data__path=path, data__channels=0)
    return smoke_config("vae", **{**fields, **changes})


SPELLINGS = ("~/photos", "$HOME/photos", "${HOME}/$PHOTOS", "photos", "./photos")


@pytest.mark.parametrize("text", SPELLINGS)
def test_one_folder_however_it_is_spelled(home: Path, text: str) -> None:
    make_images(home / "photos", [f"{i}.png" for i in range(20)])
    assert place(text).absolute() == home / "photos"
    kept = absolute_places(config_of(text))
    assert kept.data.path == str(home / "photos") and kept.is_locked
    assert differences(config_of(text), config_of(str(home / "photos"))) == ([], [])
    here = open_data(config_of(str(home / "photos")).data).spec
    assert open_data(config_of(text).data).spec == here
    flags = ["workdir", "input", "output", "real", "fake", "vgg", "heads"]
    parsed = make_parser().parse_args([f"--{flag}={text}" for flag in flags])
    for flag in flags:
        assert getattr(parsed, flag).absolute() == home / "photos"


def test_all_places_of_a_config(home: Path) -> None:
    config = config_of("a", data__target_path="b/../c", train__init_from="~/run")
    config.eval.update(dict(features="cnn:runs/seer", every=1))
    kept = absolute_places(config)
    assert kept.data.target_path == str(home / "b/../c"), "b may be a link"
    assert (kept.train.init_from, kept.eval.features) == (
        str(home / "run"),
        f"cnn:{home / 'runs' / 'seer'}",
    )
    assert config.data.path == "a", "a copy"
    synthetic = absolute_places(smoke_config("unet", data__target_path="synthetic"))
    assert synthetic.data.target_path == "synthetic" and synthetic.data.dir == ""
    assert absolute_places(smoke_config("vae", data__source="tfds", data__dir="d")).data.dir == str(
        home / "d"
    )


def test_config_files_and_feature_networks(home: Path, capsys: pytest.CaptureFixture) -> None:
    says = ["no config file '~/mine.py'"]
    refuse(capsys, "--config=~/mine.py", "--mode=inspect", says=says, keeps=home)
    (home / "mine.py").write_text("def get_config(): raise SystemExit('read')")
    with pytest.raises(SystemExit, match="read"):
        main.main(["--config=$HOME/mine.py", "--mode=inspect"])
    says = [f"{home}/seer is not a run"]
    make_images(home / "photos", ["a.png", "b.png"])
    folders = ["--real=~/photos", "--fake=$HOME/photos"]
    command = ["--mode=eval", *folders, "--metrics=fid", "--features=cnn:~/seer"]
    refuse(capsys, *command, says=says, keeps=home)
    refuse(capsys, "--mode=report", "--workdir=~/one,~/two", says=[f"{home}/one"], keeps=home)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "1", None])
def test_seeds_out_of_range(seed: object) -> None:
    with pytest.raises(UserError, match=r"seed=.*: a whole number in \[0, 2\^32\)"):
        check_seed("seed", seed)


@pytest.mark.parametrize("mode", ["sample", "transform", "eval"])
def test_seeds_of_the_command_line(
    capsys: pytest.CaptureFixture, tmp_path: Path, mode: str
) -> None:
    for seed in ("-1", str(2**32)):
        command = [f"--mode={mode}", f"--workdir={tmp_path}", f"--seed={seed}"]
        refuse(capsys, *command, says=[f"--seed={seed}", "[0, 2^32)"], keeps=tmp_path)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("dcgan.py:npz,path=some", "data.path"),
        ("edsr.py:photos,path=some", "data.path"),
        ("edsr.py:pairs,path=other,target_path=some", "data.target_path"),
        ("srgan.py:photos", "task.vgg"),
        ("srgan.py:photos", "train.init_from"),
    ],
)
def test_paths_of_every_source_and_method(config: str, field: str) -> None:
    given = {} if field.startswith("data") else {field: "some"}
    found = load_config(f"{ROOT}/configs/{config}", given)
    assert is_place(found, field)
    section, name = field.split(".")
    assert absolute_places(found)[section][name] == str(Path("some").absolute())


def test_what_a_source_does_not_use_is_no_path() -> None:
    config = load_config(f"{ROOT}/configs/dcgan.py:digits")
    assert not any(is_place(config, name) for name in ("data.path", "data.dir", "task.vgg"))
