"""Mistakes in training commands give one line (what, got, allowed, the fix), and write nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import (
    CONDITIONAL,
    SMOKE,
    make_images,
    refuse,
    succeed,
    truncate,
)
from conftest import ROOT, Trained

CONFIG_MISTAKES = {
    "field": (["--config.optim.gen.lrr=1"], ["'optim.gen.lrr'", "did you mean 'optim.gen.lr'"]),
    "type": (["--config.train.steps=many"], ["train.steps='many'", "type int", "now 2"]),
    "no value": (["--config.train.steps"], ["--config.train.steps=VALUE"]),
    "shared": (["--config.train.stesp=3"], ["'train.stesp'", "'train.steps'"]),
    "section": (["--config.train=adam"], ["train is a section", "train.steps"]),
    "preset": (["--config=configs/dcgan.py:mnits"], ["'mnits'", "did you mean 'mnist'", "digits"]),
    "argument": (
        ["--config=configs/dcgan.py:smoke,widht=4"],
        ["'widht'", "did you mean 'width'", "latent"],
    ),
    "argument's type": (["--config=configs/dcgan.py:smoke,width=wide"], ["width=wide", "int"]),
    "no pair": (["--config=configs/dcgan.py:smoke,width"], ["'width'", "key=value"]),
    "file": (["--config=configs/dcgn.py"], ["dcgn.py", "did you mean 'configs/dcgan.py'"]),
    "steps": (["--config.train.steps=0"], ["train.steps=0", "at least 1"]),
    "lr": (["--config.optim.disc.lr=-1e-3"], ["optim.disc.lr=-0.001", "above 0"]),
    "ema": (["--config.train.ema_decay=1"], ["train.ema_decay=1", "[0, 1)"]),
    "best": (["--config.eval.best=accuracy"], ["eval.best='accuracy'", "max:METRIC"]),
    "parallel": (["--config.train.parallel=jot"], ["train.parallel='jot'", "'jit'", "pmap"]),
    "flag": (["--workdri=x"], ["--workdri", "did you mean '--workdir'"]),
    "stray": (["stray"], ["takes no stray"]),
    "other mode's flag": (["--num=3"], ["takes no --num"]),
}

SIZE_MISTAKES = {
    "dcgan": ([SMOKE, "--config.data.size=8,8"], ["8x8", "at least 16", "--config.data.size"]),
    "unet": (["--config=configs/unet.py:smoke", "--config.data.size=12,12"], ["12x12", "by 8"]),
    "pix2pix": (["--config=configs/pix2pix.py:smoke", "--config.data.size=8,8"], ["8x8", "12 px"]),
    "vae": (["--config=configs/vae.py:smoke", "--config.data.size=18,18"], ["18", "by 4"]),
    "classifier": (
        ["--config=configs/classifier.py:smoke", "--config.data.size=4,4"],
        ["4x4", "at least 8x8", "data.size"],
    ),
    "tutorial 48": (
        ["--config=configs/tutorial_gan.py:smoke", "--config.data.size=48,48"],
        ["48x48", "16, 32, 64", "--config.data.size"],
    ),
    "tutorial 16x32": (
        ["--config=configs/tutorial_gan.py:smoke", "--config.data.size=16,32"],
        ["16x32", "squares"],
    ),
}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a folder of ten classes, 4 images each, one of them truncated."""
    folder = tmp_path / "broken"
    make_images(folder, [f"{c}/{i}.png" for c in range(10) for i in range(4)])
    truncate(folder / "3" / "2.png")
    return folder


def from_folder(folder: Path) -> list[str]:
    """Return the arguments that train the same networks on a folder."""
    return [SMOKE, *CONDITIONAL, "--config.data.source=folder", f"--config.data.path={folder}"]


@pytest.mark.parametrize("mode", ["train", "inspect"])
@pytest.mark.parametrize("case", CONFIG_MISTAKES)
def test_config(capsys: pytest.CaptureFixture, workdir: Path, mode: str, case: str) -> None:
    arguments, says = CONFIG_MISTAKES[case]
    known = [f"--mode={mode}", SMOKE, f"--workdir={workdir}"]
    refuse(capsys, *known, *arguments, says=says, keeps=workdir)


@pytest.mark.parametrize("mode", ["train", "inspect"])
@pytest.mark.parametrize("case", SIZE_MISTAKES)
def test_image_size(capsys: pytest.CaptureFixture, workdir: Path, mode: str, case: str) -> None:
    arguments, says = SIZE_MISTAKES[case]
    refuse(capsys, f"--mode={mode}", f"--workdir={workdir}", *arguments, says=says, keeps=workdir)


def test_config_mistakes_are_found_before_jax_is_imported(workdir: Path) -> None:
    cases = [
        [SMOKE, f"--workdir={workdir}", *CONFIG_MISTAKES[name][0]]
        for name in ("shared", "type", "preset", "file", "steps", "flag")
    ]
    cases += [["--mode=trian"], ["--mode=sample", f"--workdir={workdir}"]]
    program = (
        "import json, sys, main\n"
        "for case in json.loads(sys.argv[1]):\n"
        "    assert main.main(case) == 2, case\n"
        "    assert 'jax' not in sys.modules, case\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(cases)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(cases) and all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize("arguments", [["--mode=trian"], ["--num=many"], ["--nosuch"]])
def test_unknown_flags(capsys: pytest.CaptureFixture, arguments: list[str]) -> None:
    refuse(capsys, *arguments, says=[arguments[0].split("=")[-1]], keeps=ROOT / "runs")


def test_unknown_mode_names_the_modes(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    says = ["'trian'", "train", "sample", "inspect"]
    refuse(capsys, "--mode=trian", f"--workdir={workdir}", says=says, keeps=workdir)


def test_no_config_for_a_new_workdir(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    refuse(capsys, f"--workdir={workdir}", says=[str(workdir), "--config=FILE.py"], keeps=workdir)


def test_folders(capsys: pytest.CaptureFixture, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, says in (("empty", ["holds no images", ".png"]), ("missing", ["is not there"])):
        folder = tmp_path / name
        arguments = [*from_folder(folder), f"--workdir={workdir}"]
        refuse(capsys, *arguments, says=[str(folder), *says], keeps=workdir)
    says = ["data.path is empty", "--config.data.path=DIR"]
    refuse(capsys, "--config=configs/dcgan.py:folder", says=says, keeps=workdir)
    says = ["is not a file", ".npz"]
    refuse(capsys, "--config=configs/dcgan.py:npz,path=x.npz", says=says, keeps=workdir)


def test_truncated_image_and_changed_data(
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
    workdir: Path,
    broken: Path,
) -> None:
    command = [*from_folder(broken), f"--workdir={workdir}"]
    says = [str(broken / "3" / "2.png"), "--config.data.on_error=skip"]
    refuse(capsys, *command, says=says, keeps=workdir)
    skip = "--config.data.on_error=skip"
    out = succeed(capsys, "--mode=inspect", *command, skip)
    assert "skipped 1" in out and not workdir.exists()
    (broken / "labels.csv").write_text("")
    succeed(capsys, *command, skip, "--config.train.steps=1")
    said = [record.message for record in caplog.records if record.message.startswith(str(broken))]
    assert said == [
        f"{broken}: left out 1 (no PNG, JPEG, WebP, BMP or TIFF): labels.csv",
        f"{broken}: left out 1 (unreadable): 3/2.png",
    ]
    spec = json.loads((workdir / "spec.json").read_text())
    assert spec["preprocess"]["skipped"] == 1 and sum(spec["counts"].values()) == 39
    # Then the data of the run change.
    make_images(broken, ["3/2.png"])
    says = ["have changed", "fingerprint", "another --workdir"]
    refuse(capsys, f"--workdir={workdir}", "--config.train.steps=2", says=says, keeps=workdir)
    refuse(capsys, "--mode=eval", f"--workdir={workdir}", says=says, keeps=workdir)


def test_pairs(capsys: pytest.CaptureFixture, workdir: Path, flat: Path, tmp_path: Path) -> None:
    target = make_images(tmp_path / "target", [f"{i}.png" for i in range(39)])
    config = f"--config=configs/unet.py:pairs,path={flat}"
    arguments = [f"--workdir={workdir}", "--config.data.size=16,16"]
    says = ["1 of 40", "39.png", str(target), "on_error=skip"]
    refuse(capsys, f"{config},target_path={target}", *arguments, says=says, keeps=workdir)
    refuse(capsys, config, *arguments, says=["needs pairs", "target_path=DIR"], keeps=workdir)


@pytest.mark.parametrize("field", ["train.batch_size", "eval.batch_size"])
def test_batch_that_does_not_divide(
    capsys: pytest.CaptureFixture, workdir: Path, field: str
) -> None:
    says = [f"{field}=12", "8 devices", "8 or 16", "train.devices"]
    arguments = [SMOKE, f"--workdir={workdir}", f"--config.{field}=12"]
    refuse(capsys, *arguments, says=says, keeps=workdir)
    says = ["train.devices=99", "has 8", "0 means all"]
    arguments = [SMOKE, f"--workdir={workdir}", "--config.train.devices=99"]
    refuse(capsys, *arguments, says=says, keeps=workdir)


@pytest.mark.parametrize("mode", ["train", "inspect"])
def test_labels_of_an_unlabelled_set(
    capsys: pytest.CaptureFixture, workdir: Path, flat: Path, mode: str
) -> None:
    known = [f"--mode={mode}", f"--workdir={workdir}"]
    for name, says in (
        ("quickstart", ["model.conditional=projection", "conditional=none"]),
        ("classifier", ["task.target=label", "another target"]),
    ):
        arguments = [f"--config=configs/{name}.py:folder,path={flat},size=16", *known]
        refuse(capsys, *arguments, says=[*says, "has none", "sub-folder"], keeps=workdir)


def test_a_stray_image_beside_the_classes(
    capsys: pytest.CaptureFixture, workdir: Path, tmp_path: Path
) -> None:
    folder = make_images(tmp_path / "pets", ["cat/0.png", "dog/1.png", "cover.png"])
    arguments = [*from_folder(folder), f"--workdir={workdir}"]
    says = ["needs labels", "1 of its images lie beside the sub-folders (cat, dog)", "cover.png"]
    refuse(capsys, *arguments, says=says, keeps=workdir)


def test_workdir_of_another_config(capsys: pytest.CaptureFixture, copied: Path) -> None:
    says = ["another config", "optim.gen.lr: 0.3 -> 0.1", "seed: 0 -> 1", "--workdir"]
    arguments = [SMOKE, *CONDITIONAL, f"--workdir={copied}", "--config.train.steps=3"]
    changed = ["--config.optim.gen.lr=0.1", "--config.seed=1", "--config.train.save_every=7"]
    err = refuse(capsys, *arguments, *changed, says=says, keeps=copied)
    assert "train.steps" not in err and "save_every" not in err
    # Fields that may differ on resume do, and are reported.
    out = succeed(capsys, *arguments, "--config.train.save_every=7")
    assert "changed for this resume: train.steps: 2 -> 3" in out
    assert "changed for this resume: train.save_every: 1 -> 7" in out
    assert "trained to step 3" in out


def test_steps_of_a_schedule(
    capsys: pytest.CaptureFixture, trained: Callable[..., Trained]
) -> None:
    run = trained("classifier").workdir
    says = ["train.steps: 2 -> 3"]
    refuse(capsys, f"--workdir={run}", "--config.train.steps=3", says=says, keeps=run)


def test_tfds(capsys: pytest.CaptureFixture, tmp_path: Path, workdir: Path) -> None:
    known = [f"--workdir={workdir}", f"--config.data.dir={tmp_path}"]
    says = ["'cifar10'", "not prepared", str(tmp_path), "once", "TensorFlow"]
    says += ["download_and_prepare", "--config.data.dir"]
    refuse(capsys, "--config=configs/dcgan.py:cifar10", *known, says=says, keeps=tmp_path)
    says = ["'minst'", "catalog"]
    refuse(capsys, "--config=configs/dcgan.py:tfds,name=minst", *known, says=says, keeps=tmp_path)
    says = ["data.name is empty"]
    refuse(capsys, "--config=configs/dcgan.py:tfds", *known, says=says, keeps=tmp_path)


def test_unknown_best_metric(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    arguments = [SMOKE, f"--workdir={workdir}", "--config.eval.best=max:disc_acuracy_real"]
    says = ["max:disc_acuracy_real", "did you mean 'disc_accuracy_real'", "disc_logits_fake"]
    refuse(capsys, *arguments, says=says, keeps=workdir)
