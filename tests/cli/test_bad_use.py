"""Mistakes in using a run give one line (what, got, allowed, the fix), and write nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import (
    SMOKE,
    make_images,
    refuse,
    snapshot,
    truncate,
)
from conftest import Trained, smoke_config

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task


@pytest.mark.parametrize("mode", ["eval", "sample", "transform"])
@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("stray", "takes no stray"),
        ("--nosuch=1", "nosuch"),
        ("--nosuch", "--nosuch"),
        (SMOKE, "leave --config out"),
        ("--config.seed=1", "config.seed"),
    ],
)
def test_unknown_arguments_to_use_a_run(
    capsys: pytest.CaptureFixture,
    trained: Callable[..., Trained],
    tmp_path: Path,
    flat: Path,
    mode: str,
    argument: str,
    says: str,
) -> None:
    run = trained("vae").workdir
    more = {"transform": [f"--input={flat}", f"--output={tmp_path / 'o'}"], "eval": []}.get(
        mode, [f"--output={tmp_path / 'o'}"]
    )
    before = snapshot(run)
    refuse(
        capsys, f"--mode={mode}", f"--workdir={run}", *more, argument, says=[says], keeps=tmp_path
    )
    assert snapshot(run) == before


def test_labels_at_sampling(
    capsys: pytest.CaptureFixture, trained: Callable[..., Trained], gan: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for run, labels, says in (
        (gan, "0,10", ["10", "from 0 to 9"]),
        (gan, "-1", ["-1", "from 0 to 9"]),
        (gan, "cat", ["--labels=cat", "names of classes (0, 1, 2", "0,1,2"]),
        (gan, "", ["--labels=", "0,1,2"]),
        (trained("vae").workdir, "1", ["unconditional", "leave"]),
    ):
        arguments = ["--mode=sample", f"--workdir={run}", f"--output={output}"]
        refuse(capsys, *arguments, f"--labels={labels}", says=says, keeps=output)
    config = smoke_config("dcgan")
    task = make_task(config, open_data(config.data).spec)
    with pytest.raises(UserError, match="unconditional: leave labels out"):
        task.latents(jax.random.split(jax.random.key(0), 2), np.zeros(2, np.int32))


def test_what_a_task_cannot(
    capsys: pytest.CaptureFixture,
    trained: Callable[..., Trained],
    gan: Path,
    flat: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    for name, can in (("classifier", "encode"), ("pix2pix", "transform")):
        arguments = ["--mode=sample", f"--workdir={trained(name).workdir}", f"--output={output}"]
        refuse(capsys, *arguments, says=["cannot generate", f"it can {can}"], keeps=output)
    arguments = ["--mode=transform", f"--workdir={gan}", f"--input={flat}", f"--output={output}"]
    refuse(capsys, *arguments, says=["cannot transform", "it can generate"], keeps=output)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--truncation=-1", ["truncation=-1", "[0"]),
        ("--truncation=much", ["'much'", "float"]),
        ("--weights=foo", ["'foo'", "ema, raw"]),
        ("--truncatoin=1", ["'truncatoin'", "did you mean 'truncation'", "weights"]),
        ("--checkpoint=7", ["--checkpoint=7", "latest, best", "(1, 2)"]),
        ("--checkpoint=best", ["--checkpoint=best", "has none", "eval.best"]),
        ("--num=0", ["--num=0", "at least 1"]),
        ("--num=-3", ["--num=-3", "at least 1"]),
        ("--seed=x", ["--seed", "'x'"]),
        ("--split=eval", ["takes no --split"]),
    ],
)
def test_options(
    capsys: pytest.CaptureFixture, gan: Path, tmp_path: Path, argument: str, says: list[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--mode=sample", f"--workdir={gan}", f"--output={output}", "--num=2", argument]
    refuse(capsys, *arguments, says=says, keeps=output)


def test_eval(capsys: pytest.CaptureFixture, gan: Path) -> None:
    for argument, says in (
        ("--split=validation", ["--split='validation'", "train, eval"]),
        ("--checkpoint=best", ["has none"]),
        ("--output=x", ["takes no --output", "--split"]),
    ):
        refuse(capsys, "--mode=eval", f"--workdir={gan}", argument, says=says, keeps=gan)


def test_transform_folders(
    capsys: pytest.CaptureFixture, trained: Callable[..., Trained], tmp_path: Path
) -> None:
    known = ["--mode=transform", f"--workdir={trained('vae').workdir}"]
    source, output = tmp_path / "in", tmp_path / "out"
    refuse(capsys, *known, says=["--input=DIR", "--output=DIR"], keeps=tmp_path)
    both = [f"--input={source}", f"--output={output}"]
    refuse(capsys, *known, *both, says=[str(source), "is not there"], keeps=tmp_path)
    source.mkdir()
    refuse(capsys, *known, *both, says=["holds no images", ".png"], keeps=tmp_path)
    make_images(source, ["a.png", "b.png", "c/d.png"])
    for inside in (source, source / "c", source / "new"):
        both_in = [f"--input={source}", f"--output={inside}"]
        says = ["input folder", "name another"]
        refuse(capsys, *known, *both_in, says=says, keeps=tmp_path)
    (tmp_path / "file").write_text("")
    for bad in ("file", "file/out", "file/out.png"):
        for given in (source, source / "a.png"):
            arguments = [f"--input={given}", f"--output={tmp_path / bad}"]
            refuse(capsys, *known, *arguments, says=["is a file"], keeps=tmp_path)
    for name in ("a.png", "b.png", "c/d.png"):
        truncate(source / name)
    says = ["none of the 3 images can be read", "a.png, b.png, c/d.png"]
    refuse(capsys, *known, *both, says=says, keeps=tmp_path)


def test_sample_into_what_is_no_folder(
    capsys: pytest.CaptureFixture, gan: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for bad in ("file", "file/out"):
        arguments = ["--mode=sample", f"--workdir={gan}", f"--output={tmp_path / bad}"]
        refuse(capsys, *arguments, says=["is a file", "name a folder"], keeps=tmp_path)


def test_workdir_is_no_run(capsys: pytest.CaptureFixture, tmp_path: Path, flat: Path) -> None:
    more = {"transform": [f"--input={flat}", f"--output={tmp_path / 'out'}"]}
    for mode in ("eval", "sample", "transform"):
        arguments = [f"--mode={mode}", *more.get(mode, [])]
        says = [str(tmp_path), "is not a run", "--config"]
        refuse(capsys, *arguments, f"--workdir={tmp_path}", says=says, keeps=tmp_path)
        refuse(capsys, *arguments, says=["needs --workdir=RUN"], keeps=tmp_path)
    file = tmp_path / "file"
    file.write_text("mine")
    refuse(capsys, SMOKE, f"--workdir={file}", says=[str(file), "a directory"], keeps=tmp_path)
    refuse(capsys, SMOKE, f"--workdir={file}/run", says=[str(file)], keeps=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config.train.fsdp=3"], ["train.fsdp=3", "8 devices", "1, 2, 4, 8"]),
        (
            ["--config.train.fsdp=2", "--config.train.parallel=pmap"],
            ["pmap does not do train.fsdp=2", "train.parallel=jit"],
        ),
        (["--config.train.microbatches=3"], ["train.batch_size=8", "3 microbatches", "use 24"]),
        (["--config.train.precision=float16"], ["train.precision='float16'", "bfloat16"]),
        (["--config.train.steps_per_call=-1"], ["train.steps_per_call=-1", "at least 0"]),
        (["--processes=2"], ["--coordinator=HOST:PORT", "--process=I", "go together"]),
        (
            ["--coordinator=here", "--processes=2", "--process=0"],
            ["--coordinator=here", "HOST:PORT"],
        ),
        (
            ["--coordinator=here:1", "--processes=2", "--process=2"],
            ["--process=2", "from 0 to 1"],
        ),
    ],
)
def test_how_a_step_is_spread(
    capsys: pytest.CaptureFixture, tmp_path: Path, arguments: list[str], says: list[str]
) -> None:
    workdir = f"--workdir={tmp_path / 'run'}"
    refuse(capsys, SMOKE, workdir, *arguments, says=says, keeps=tmp_path)
