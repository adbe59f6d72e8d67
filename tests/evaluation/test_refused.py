"""Invalid evaluations fail with a one-line error and write nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import refuse
from conftest import Trained


def refuse_eval(capsys: pytest.CaptureFixture, run: Path, *arguments: str, says: list[str]) -> None:
    refuse(capsys, "--mode=eval", f"--workdir={run}", *arguments, says=says, keeps=run)


def test_metrics_that_cannot_be(
    capsys: pytest.CaptureFixture, run_of: Callable[[str], Trained], gan: Path, cnn: str
) -> None:
    features = f"--features={cnn}"
    for metrics, says in (
        ("fdi", ["--metrics=fdi", "did you mean 'fid'", "kid", "prdc"]),
        ("psnr", ["--metrics=psnr", "task 'gan' has no such metric", "fid"]),
        ("fid,fid", ["--metrics=fid,fid", "each once"]),
        ("fid,", ["--metrics=fid,", "commas"]),
        ("kid", ["kid", "16 real images", "at least 1,000", "the split has 16", "leave kid out"]),
        ("fid_infinity", ["fid_infinity", "16 generated images", "10,000"]),
    ):
        refuse_eval(capsys, gan, features, f"--metrics={metrics}", says=says)
    refuse_eval(capsys, gan, "--metrics=fid", says=["--features=cnn:RUN", "configs/classifier.py"])
    vae = run_of("vae").workdir
    says = ["generated images have no classes", "labelled"]
    refuse_eval(capsys, vae, features, "--metrics=intra_fid", says=says)
    says = ["psnr", "--images=transformed"]
    refuse_eval(capsys, vae, "--metrics=psnr", says=says)
    lpips = ["--metrics=lpips", "--images=transformed"]
    refuse_eval(capsys, vae, *lpips, says=["lpips needs --vgg=FILE"])
    classifier = run_of("classifier").workdir
    refuse_eval(capsys, classifier, features, "--metrics=fid", says=["'classifier'", "it can have"])


def test_other_arguments_that_cannot_be(capsys: pytest.CaptureFixture, gan: Path, cnn: str) -> None:
    fid = ["--metrics=fid", f"--features={cnn}"]
    for arguments, says in (
        ([*fid, "--num=1"], ["fid", "1 real", "at least 2"]),
        ([*fid, "--num=0"], ["--num=0", "at least 1"]),
        ([*fid, "--images=transformed"], ["--images='transformed'", "samples"]),
        ([*fid, "--truncatoin=1"], ["--truncatoin", "did you mean 'truncation'"]),
        ([*fid, "--truncation=-1"], ["truncation=-1"]),
        ([*fid, "--resize=linear"], ["--resize='linear'", "clean, tf_legacy"]),
        (["--metrics=fid", "--features=vgg"], ["'vgg'", "cnn:RUN"]),
        (["--metrics=fid", f"--features=cnn:{gan}"], ["task 'gan'", "classifier"]),
        (["--metrics=fid", "--features=cnn:nowhere"], ["nowhere is not a run"]),
        (["--num=5"], ["--num needs --metrics"]),
        (["--metrics=lpips"], ["lpips", "no such metric"]),
        (["--standing=5"], ["--standing"]),
        (["--metrics=swd", f"--features={cnn}"], ["--features=", "is for cas, fid", "leave"]),
        (["--metrics=swd", "--weights=no.pth"], ["--weights=no.pth is for", "fid"]),
        (["--metrics=swd", "--resize=tf_legacy"], ["--resize=tf_legacy is for", "fid"]),
        (["--metrics=cas", "--resize=tf_legacy"], ["--resize=tf_legacy is for", "fid"]),
        (["--metrics=fid", "--vgg=no.pth"], ["--vgg=no.pth is for lpips, ppl"]),
        (["--metrics=ppl", "--heads=no.pth"], ["--heads=no.pth", "--vgg=FILE"]),
    ):
        refuse_eval(capsys, gan, *arguments, says=says)


def test_metrics_of_a_training_that_cannot_be(
    capsys: pytest.CaptureFixture, workdir: Path, cnn: str
) -> None:
    smoke = ["--config=configs/dcgan.py:smoke", f"--workdir={workdir}", "--config.eval.every=1"]
    for fields, says in (
        (["eval.metrics=fid"], ["--features=cnn:RUN"]),
        (["eval.metrics=nosuch"], ["nosuch", "fid"]),
        ([f"eval.features={cnn}", "eval.metrics=kid"], ["16 real", "1,000"]),
        (
            [f"eval.features={cnn}", "eval.metrics=fid", "eval.best=min:kid"],
            ["eval.best=min:kid", "fid"],
        ),
        (["eval.metrics=fid", "eval.every=0"], ["eval.every=0", "--mode=eval"]),
        (["eval.num=-1"], ["eval.num=-1", "at least 0"]),
    ):
        arguments = [f"--config.{field}" for field in fields]
        refuse(capsys, *smoke, *arguments, says=says, keeps=workdir)
