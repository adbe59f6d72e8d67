"""Mistakes of a user end in one line that says what, got, allowed and the fix; nothing is written."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import check_error, make_images, refuse, snapshot, succeed, truncate
from conftest import ROOT, Trained, smoke_config

import gan_jax
from gan_jax.data import open_data
from gan_jax.errors import UserError
from gan_jax.parallel import Parallel
from gan_jax.task import make_task
from gan_jax.writer import read_metrics

SMOKE = "--config=configs/dcgan.py:smoke"
# The conditional DCGAN is trained once and stands for every family where it can.
GIVEN = "--config.model.conditional=projection"

CONFIG_MISTAKES = {
    "field": (["--config.optim.gen.lrr=1"], ["'optim.gen.lrr'", "did you mean 'optim.gen.lr'"]),
    "type": (["--config.train.steps=many"], ["train.steps='many'", "type int", "now 2"]),
    "no value": (["--config.train.steps"], ["--config.train.steps=VALUE"]),
    "section": (["--config.optim.gen=adam"], ["optim.gen is a section", "optim.gen.lr"]),
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
    "pix2pix": (["--config=configs/pix2pix.py:smoke", "--config.data.size=8,8"], ["8", "16"]),
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
def workdir(tmp_path: Path) -> Path:
    """Return a path where nothing is."""
    return tmp_path / "run"


@pytest.fixture
def gan(trained: Callable[..., Trained]) -> Path:
    """Return a conditional GAN of two steps, which no test may change."""
    return trained("dcgan", GIVEN).workdir


@pytest.fixture
def copied(gan: Path, workdir: Path) -> Path:
    """Return a copy of that run."""
    shutil.copytree(gan, workdir)
    return workdir


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 40 unlabelled images."""
    return make_images(tmp_path_factory.mktemp("flat"), [f"{i}.png" for i in range(40)])


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a folder of ten classes, 4 images each, one of them truncated."""
    folder = tmp_path / "broken"
    make_images(folder, [f"{c}/{i}.png" for c in range(10) for i in range(4)])
    truncate(folder / "3" / "2.png")
    return folder


def from_folder(folder: Path) -> list[str]:
    """Return the arguments that train the same networks on a folder."""
    return [SMOKE, GIVEN, "--config.data.source=folder", f"--config.data.path={folder}"]


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
        for name in ("field", "type", "preset", "file", "steps", "flag")
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
    capsys: pytest.CaptureFixture, workdir: Path, broken: Path
) -> None:
    command = [*from_folder(broken), f"--workdir={workdir}"]
    says = [str(broken / "3" / "2.png"), "--config.data.on_error=skip"]
    refuse(capsys, *command, says=says, keeps=workdir)
    skip = "--config.data.on_error=skip"
    out = succeed(capsys, "--mode=inspect", *command, skip)
    assert "skipped 1" in out and not workdir.exists()
    succeed(capsys, *command, skip, "--config.train.steps=1")
    spec = json.loads((workdir / "spec.json").read_text())
    assert spec["preprocess"]["skipped"] == 1 and sum(spec["counts"].values()) == 39
    # Then the data change under the run.
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


def test_labels_at_sampling(
    capsys: pytest.CaptureFixture, trained: Callable[..., Trained], gan: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for run, labels, says in (
        (gan, "0,10", ["10", "from 0 to 9"]),
        (gan, "-1", ["-1", "from 0 to 9"]),
        (gan, "cat", ["--labels=cat", "0,1,2"]),
        (gan, "", ["--labels=", "0,1,2"]),
        (trained("vae").workdir, "1", ["unconditional", "leave"]),
    ):
        arguments = ["--mode=sample", f"--workdir={run}", f"--output={output}"]
        refuse(capsys, *arguments, f"--labels={labels}", says=says, keeps=output)
    config = smoke_config("dcgan")
    task = make_task(config, open_data(config.data).spec)
    with pytest.raises(UserError, match="unconditional: leave labels out"):
        task.latents(jax.random.split(jax.random.key(0), 2), np.zeros(2, np.int32))


def test_workdir_of_another_config(capsys: pytest.CaptureFixture, copied: Path) -> None:
    says = ["another config", "optim.gen.lr: 0.0002 -> 0.1", "seed: 0 -> 1", "--workdir"]
    arguments = [SMOKE, GIVEN, f"--workdir={copied}", "--config.train.steps=3"]
    changed = ["--config.optim.gen.lr=0.1", "--config.seed=1", "--config.train.save_every=7"]
    err = refuse(capsys, *arguments, *changed, says=says, keeps=copied)
    assert "train.steps" not in err and "save_every" not in err
    # What may differ on resume does, and is said.
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


def test_tfds(capsys: pytest.CaptureFixture, tmp_path: Path, workdir: Path) -> None:
    known = [f"--workdir={workdir}", f"--config.data.dir={tmp_path}"]
    says = ["'cifar10'", "not prepared", str(tmp_path), "once", "TensorFlow"]
    says += ["download_and_prepare", "--config.data.dir"]
    refuse(capsys, "--config=configs/dcgan.py:cifar10", *known, says=says, keeps=tmp_path)
    says = ["'minst'", "catalog"]
    refuse(capsys, "--config=configs/dcgan.py:tfds,name=minst", *known, says=says, keeps=tmp_path)
    says = ["data.name is empty"]
    refuse(capsys, "--config=configs/dcgan.py:tfds", *known, says=says, keeps=tmp_path)


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
    truncate(source / "b.png")
    says = [str(source / "b.png"), "on_error=skip"]
    refuse(capsys, *known, *both, says=says, keeps=tmp_path)
    for inside in (source, source / "c", source / "new"):
        both_in = [f"--input={source}", f"--output={inside}"]
        says = ["input folder", "name another"]
        refuse(capsys, *known, *both_in, says=says, keeps=tmp_path)
    (tmp_path / "file").write_text("")
    for bad in ("file", "file/out"):
        arguments = [f"--input={source}", f"--output={tmp_path / bad}"]
        refuse(capsys, *known, *arguments, says=["is a file"], keeps=tmp_path)
    out = succeed(capsys, *known, *both, "--config.data.on_error=skip")
    assert "wrote 2 images" in out and "left out 1 unreadable: b.png" in out
    assert sorted(snapshot(output)) == ["a.png", "c", "c/d.png"]


def test_sample_into_what_is_no_folder(
    capsys: pytest.CaptureFixture, gan: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for bad in ("file", "file/out"):
        arguments = ["--mode=sample", f"--workdir={gan}", f"--output={tmp_path / bad}"]
        refuse(capsys, *arguments, says=["is a file", "name a folder"], keeps=tmp_path)


def test_unknown_best_metric(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    arguments = [SMOKE, f"--workdir={workdir}", "--config.eval.best=max:disc_acuracy_real"]
    says = ["max:disc_acuracy_real", "did you mean 'disc_accuracy_real'", "disc_logits_fake"]
    refuse(capsys, *arguments, says=says, keeps=workdir)


def test_nan_names_metric_and_step(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    arguments = ["--config=configs/vae.py:smoke", f"--workdir={workdir}"]
    capsys.readouterr()
    from main import main

    code = main([*arguments, "--config.optim.vae.lr=1e30", "--config.train.sample_every=0"])
    err = capsys.readouterr().err
    check_error(code, err, ["training stopped", "checkpoint 1 is kept", "lower learning rate"])
    assert re.search(r"(elbo|kl|loss|reconstruction) is -?(nan|inf) at step 2", err)
    assert gan_jax.load(workdir).step == 1
    assert [line["step"] for line in read_metrics(workdir)] == [1, 2]


def test_nan_between_logs_makes_no_checkpoint(
    capsys: pytest.CaptureFixture, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_step = Parallel.compile_step

    def poisoned(self: Parallel, step: Callable) -> Callable:
        compiled = compile_step(self, step)

        def call(*arguments: object) -> tuple:
            state, metrics = compiled(*arguments)
            if state.step == 4:
                nets = {**state.nets, "gen": jax.tree.map(lambda x: x * np.nan, state.nets["gen"])}
                state = state.replace(nets=nets)
            return state, metrics

        return call

    monkeypatch.setattr(Parallel, "compile_step", poisoned)
    from main import main

    arguments = ["--config.train.steps=9", "--config.train.log_every=100"]
    code = main([f"--workdir={copied}", *arguments])
    err = capsys.readouterr().err
    check_error(code, err, ["weights/gen is nan at step 4", "checkpoint 3 is kept"])
    assert gan_jax.load(copied).step == 3


def limited(workdir: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Train in a process that cannot write files larger than 20 kB: the sums of a full disk."""
    return subprocess.run(
        [sys.executable, "main.py", SMOKE, GIVEN, f"--workdir={workdir}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )


@pytest.mark.parametrize("begun", [False, True])
def test_full_disk(capsys: pytest.CaptureFixture, gan: Path, workdir: Path, begun: bool) -> None:
    if begun:
        shutil.copytree(gan, workdir)
    done = limited(workdir, "--config.train.steps=4")
    kept = "step 2" if begun else "none yet"
    check_error(done.returncode, done.stderr, ["File too large", kept, "make room", "resume"])
    out = succeed(capsys, SMOKE, GIVEN, f"--workdir={workdir}", "--config.train.steps=4")
    assert "trained to step 4" in out
    assert gan_jax.load(workdir).step == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 300 kB; skip where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_small_and_read_only_disk(
    capsys: pytest.CaptureFixture, gan: Path, small_disk: Path
) -> None:
    from main import main

    workdir = small_disk / "run"
    command = [SMOKE, GIVEN, f"--workdir={workdir}", "--config.train.keep=50"]
    code = main([*command, "--config.train.steps=50"])
    err = capsys.readouterr().err
    check_error(code, err, ["No space left", "step", "make room"])
    good = gan_jax.load(workdir, checkpoint="latest").step
    assert f"step {good}" in err
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    says = ["Read-only file system", str(workdir)]
    refuse(capsys, *command, "--config.train.steps=60", says=says, keeps=workdir)
    refuse(capsys, "--mode=eval", f"--workdir={workdir}", says=says[:1], keeps=workdir)
    for output in (small_disk / "out", workdir / "generated"):
        arguments = ["--mode=sample", f"--workdir={gan}", f"--output={output}"]
        refuse(capsys, *arguments, says=[str(output), "cannot be written"], keeps=output)
