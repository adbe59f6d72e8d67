"""Every mode of main.py on a run of each family: files, output, and reproducibility."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from commands import CONDITIONAL, make_images, refuse, snapshot, succeed
from conftest import FAMILIES, ROOT, Trained
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

import gan_jax
from gan_jax.data.folders import HIDDEN, NO_IMAGE, scan
from gan_jax.rundir.writer import read_metrics

GRIDS = {
    "dcgan": ["samples"],
    "vae": ["reconstructions", "samples"],
    "classifier": [],
    "pix2pix": ["input_output_target"],
}
CAN = {
    "dcgan": ["sample", "eval"],
    "vae": ["sample", "transform", "eval"],
    "classifier": ["predict", "eval"],
    "pix2pix": ["transform", "eval"],
}
METRICS = {
    "dcgan": "disc_accuracy_real",
    "vae": "elbo",
    "classifier": "accuracy",
    "pix2pix": "l1",
}


@pytest.fixture
def copy_of(run_of: Callable[[str], Trained], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function from a family to a copy of its run."""
    return lambda name: Path(shutil.copytree(run_of(name).workdir, tmp_path / "run"))


def load_json(path: Path) -> dict:
    return json.loads(path.read_text())


def text_of(path: Path) -> dict[str, str]:
    """Return the text chunks of a PNG."""
    with Image.open(path) as picture:
        picture.load()
        return dict(picture.text)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def events(folder: Path) -> list[Event]:
    """Return the values that TensorBoard would read."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_files_of_a_run(run_of: Callable[[str], Trained], name: str) -> None:
    run = run_of(name).workdir
    there = {path.name for path in run.iterdir()} - {"eval", ".lock"}
    expected = {"config.json", "spec.json", "environment.json", "checkpoints", "metrics.jsonl"}
    assert there == expected | {"tensorboard"} | ({"samples"} if GRIDS[name] else set())
    config, spec = load_json(run / "config.json"), load_json(run / "spec.json")
    assert config["data"]["source"] == "synthetic" and config["train"]["steps"] == 2
    assert spec["counts"] == {"train": 48, "eval": 16}
    (start,) = load_json(run / "environment.json")["starts"]
    assert start["data"] == spec["fingerprint"] and len(start["devices"]) == 8
    assert start["versions"]["jax"] == jax.__version__ and "gan_jax" in start["versions"]
    assert re.fullmatch(r"([0-9a-f]{40}\+?)?", start["commit"])
    for step in (1, 2):
        for line in (run / "checkpoints" / f"{step}.sha256").read_text().splitlines():
            digest, path = line.split("  ")
            content = (run / "checkpoints" / path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
    lines = read_metrics(run)
    assert [m["step"] for m in lines if "time/images_per_second" in m] == [1, 2]
    written = events(run / "tensorboard")
    assert [m["step"] for m in lines] == [1, 2] and all(m["time/unix"] > 1e9 for m in lines)
    assert {k for k in lines[0] if "learning_rate" in k} == {
        f"learning_rate/{net}" for net in gan_jax.load(run).state.nets
    }
    tags = {value.tag for event in written for value in event.summary.value}
    assert tags >= {key for m in lines for key in m} - {"step", "time/unix"} | set(GRIDS[name])
    assert {event.step for event in written if event.summary.value} == {0, 1, 2}
    assert "_hparams_/session_start_info" in tags
    samples = sorted((run / "samples").iterdir()) if GRIDS[name] else []
    assert [path.name for path in samples] == [f"0000002_{grid}.png" for grid in GRIDS[name]]
    for path in samples:
        assert text_of(path) == {"run": "run", "step": "2", "seed": "0"}


@pytest.mark.parametrize("name", FAMILIES)
def test_train_says_how_to_go_on(run_of: Callable[[str], Trained], name: str) -> None:
    run = run_of(name)
    assert "trained to step 2" in run.out
    assert ("samples/" in run.out) == bool(GRIDS[name])
    measured = [line for line in read_metrics(run.workdir) if any("eval/" in k for k in line)]
    shown = [line for line in run.out.splitlines() if "  eval  " in line]
    assert [line.split()[1] for line in shown] == [f"{m['step']}/2" for m in measured]
    if best := load_json(run.workdir / "config.json")["eval"]["best"]:
        mode, _, metric = best.partition(":")
        choose = max if mode == "max" else min
        value = choose(m[f"eval/{metric}"] for m in measured)
        assert f"{metric} {value:.4g}" in run.out and "(best so far)" in shown[0]
        step = gan_jax.load(run.workdir).step
        assert f"the best checkpoint is that of step {step}: {metric} {value:.4g};" in run.out
    commands = [shlex.split(x) for x in run.out.splitlines() if x.startswith("  python main.py")]
    assert [c[2] for c in commands] == [f"--mode={mode}" for mode in CAN[name]]
    assert all(f"--workdir={run.workdir}" in c for c in commands)


@pytest.mark.parametrize("name", FAMILIES)
def test_train_again_changes_nothing(
    capsys: pytest.CaptureFixture, run_of: Callable[[str], Trained], name: str
) -> None:
    run = run_of(name).workdir
    before = snapshot(run)
    config = f"--config=configs/{name}.py:smoke"
    again = [config, f"--workdir={run}", *(CONDITIONAL if name == "dcgan" else ())]
    for arguments in (again, [f"--workdir={run}"]):
        out = succeed(capsys, *arguments)
        assert "is complete: 2 of 2" in out and "larger --config.train.steps" in out
    assert snapshot(run) == before


@pytest.mark.parametrize("name", ["dcgan", "pix2pix"])
def test_more_steps_with_workdir_alone(
    capsys: pytest.CaptureFixture, copy_of: Callable[[str], Path], name: str
) -> None:
    run = copy_of(name)
    config = load_json(run / "config.json")
    out = succeed(capsys, f"--workdir={run}", "--config.train.steps=3")
    assert "changed for this resume: train.steps: 2 -> 3" in out and "trained to step 3" in out
    config["train"]["steps"] = 3
    assert load_json(run / "config.json") == config
    assert len(load_json(run / "environment.json")["starts"]) == 2
    assert [m["step"] for m in read_metrics(run) if "gen" in m] == [1, 2, 3]


def test_workdir_alone_resumes(
    capsys: pytest.CaptureFixture,
    run_of: Callable[[str], Trained],
    copy_of: Callable[[str], Path],
) -> None:
    run = copy_of("dcgan")
    shutil.rmtree(run / "checkpoints" / "2")
    (run / "checkpoints" / "2.sha256").unlink()
    assert "trained to step 2" in succeed(capsys, f"--workdir={run}")
    states = [gan_jax.load(path).state for path in (run, run_of("dcgan").workdir)]
    chex.assert_trees_all_equal(*map(jax.device_get, states))
    assert [m["step"] for m in read_metrics(run) if "gen" in m] == [1, 2]


@pytest.mark.parametrize("name", FAMILIES)
def test_eval(capsys: pytest.CaptureFixture, copy_of: Callable[[str], Path], name: str) -> None:
    run = copy_of(name)
    found = []
    for size in (8, 24):  # two whole batches; one with padding
        config = load_json(run / "config.json")
        config["eval"]["batch_size"] = size
        (run / "config.json").write_text(json.dumps(config))
        out = succeed(capsys, "--mode=eval", f"--workdir={run}", "--checkpoint=2")
        found.append(load_json(run / "eval" / "2.json"))
        assert f"{METRICS[name]}/eval/16" in out and str(run / "eval") in out
    assert all(key.removesuffix("/unrounded").endswith("/eval/16") for key in found[0])
    chex.assert_trees_all_close(*found, rtol=1e-5, atol=1e-6)


def test_eval_of_another_split_is_added(
    capsys: pytest.CaptureFixture, copy_of: Callable[[str], Path]
) -> None:
    run = copy_of("vae")
    for split in ("eval", "train"):
        succeed(capsys, "--mode=eval", f"--workdir={run}", f"--split={split}", "--checkpoint=2")
    assert {"elbo/eval/16", "elbo/train/48"} <= load_json(run / "eval" / "2.json").keys()


@pytest.mark.parametrize("name", ["dcgan", "vae"])
def test_sample(
    capsys: pytest.CaptureFixture, run_of: Callable[[str], Trained], tmp_path: Path, name: str
) -> None:
    run = run_of(name).workdir
    before = snapshot(run)

    def draw(output: str, *arguments: str) -> list[Path]:
        known = ["--mode=sample", f"--workdir={run}", f"--output={tmp_path / output}"]
        out = succeed(capsys, *known, "--checkpoint=latest", *arguments)
        assert str(tmp_path / output) in out
        return sorted((tmp_path / output).glob("0*.png"))

    few, again = draw("few", "--num=3", "--seed=5"), draw("again", "--num=3", "--seed=5")
    assert snapshot(tmp_path / "few") == snapshot(tmp_path / "again")
    assert (tmp_path / "few" / ".grid.png").is_file() and len(few) == len(again) == 3
    expected = {"run": "run", "step": "2", "seed": "5", "index": "1"}
    table = list(csv.DictReader((tmp_path / "few" / "samples.csv").open()))
    assert table == [{"file": path.name, **text_of(path)} for path in few]
    classes = [row.get("label", "") for row in table]
    drawn = text_of(few[1])
    if name == "dcgan":
        assert drawn.pop("label") == drawn.pop("class") and len(set(classes)) > 1
    assert drawn == expected
    many, other = draw("many", "--num=11", "--seed=5"), draw("other", "--num=3", "--seed=6")
    for one, two, three in zip(few, many, other, strict=False):
        assert np.abs(pixels(one) - pixels(two)).max() <= 1
        assert np.abs(pixels(one) - pixels(three)).max() > 1
    if name == "dcgan":
        labelled = draw("labelled", "--num=3", "--seed=5", "--labels=0,1")
        assert [text_of(path)["label"] for path in labelled] == ["0", "1", "0"]
        asked = draw("asked", "--num=3", "--seed=5", f"--labels={','.join(classes)}")
        for one, two in zip(asked, few, strict=True):
            assert np.abs(pixels(one) - pixels(two)).max() <= 1
        same = draw("same", "--num=3", "--labels=4", "--truncation=0.0001")
        assert all(np.abs(pixels(path) - pixels(same[0])).max() <= 1 for path in same)
    else:
        same = draw("same", "--num=3", "--temperature=0")
        assert all((pixels(path) == pixels(same[0])).all() for path in same)
    assert snapshot(run) == before


def test_an_output_holds_one_call(
    capsys: pytest.CaptureFixture, run_of: Callable[[str], Trained], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    known = ["--mode=sample", f"--workdir={run_of('vae').workdir}", f"--output={output}"]
    succeed(capsys, *known, "--num=5")
    assert scan(output).names == tuple(f"{i:06d}.png" for i in range(5))
    assert scan(output).left_out == {HIDDEN: (".grid.png",), NO_IMAGE: ("samples.csv",)}
    says = [f"--output={output} holds 6 files", "000000.png", "--overwrite"]
    refuse(capsys, *known, "--num=3", says=says, keeps=output)
    refuse(capsys, *known, "--interpolate=latents", says=says, keeps=output)
    assert "wrote 3 images" in succeed(capsys, *known, "--num=3", "--overwrite")
    images = [f"{i:06d}.png" for i in range(3)]
    assert sorted(snapshot(output)) == [".grid.png", *images, "samples.csv"]
    # Files of others are never deleted, nor those of a training of ours.
    grid = next((run_of("vae").workdir / "samples").iterdir())
    for name, content in (("notes.txt", b"mine"), ("0.png", grid.read_bytes())):
        (output / name).write_bytes(content)
        says = ["holds 1 files", name, "deletes none of them"]
        refuse(capsys, *known, "--overwrite", says=says, keeps=output)
        (output / name).unlink()
    transform = [
        "--mode=transform",
        *known[1:],
        f"--input={make_images(tmp_path / 'in', ['a.png'])}",
    ]
    refuse(capsys, *transform, says=["holds 4 files", "--overwrite"], keeps=output)
    assert "wrote 1 images" in succeed(capsys, *transform, "--overwrite")
    assert list(snapshot(output)) == ["a.png"]


@pytest.fixture
def odd_images(tmp_path: Path) -> Path:
    """Return a folder of images of several sizes, modes and formats, with a sub-folder."""
    folder = make_images(tmp_path / "in", ["wide.png"], (5, 21))
    make_images(folder, ["sub/deep/tall.jpg", "twin.jpg", "twin.png"], (40, 9))
    draw = np.random.default_rng(1)
    Image.fromarray(draw.integers(0, 256, (9, 9, 4), np.uint8)).save(folder / "alpha.png")
    Image.fromarray(draw.integers(0, 2**16, (9, 9)).astype(np.uint16)).save(folder / "deep.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.parametrize("name", ["vae", "pix2pix"])
def test_transform(
    capsys: pytest.CaptureFixture,
    run_of: Callable[[str], Trained],
    odd_images: Path,
    tmp_path: Path,
    name: str,
) -> None:
    run = run_of(name).workdir
    before = snapshot(run), snapshot(odd_images)

    def transform(source: Path, output: str, *arguments: str) -> dict[str, np.ndarray]:
        target = tmp_path / output
        known = ["--mode=transform", f"--workdir={run}", f"--input={source}"]
        out = succeed(capsys, *known, f"--output={target}", "--checkpoint=latest", *arguments)
        assert f"images to {target}" in out
        assert source != odd_images or "BMP or TIFF): notes.txt" in out
        return {p.relative_to(target).as_posix(): pixels(p) for p in target.rglob("*.png")}

    made = transform(odd_images, "out")
    names = ["alpha.png", "deep.png", "sub/deep/tall.png", "twin.jpg.png", "twin.png.png"]
    assert sorted(made) == [*names, "wide.png"]
    if name == "vae":  # the training size only
        assert all(image.shape == (16, 16) for image in made.values())
    else:
        shapes = [(9, 9, 2), (9, 9), (40, 9), (40, 9), (40, 9), (5, 21)]  # the first has alpha
        assert [made[key].shape for key in sorted(made)] == shapes
    text = text_of(tmp_path / "out" / "sub" / "deep" / "tall.png")
    assert text == {"run": "run", "step": "2", "seed": "0", "source": "sub/deep/tall.jpg"}
    chex.assert_trees_all_equal(made, transform(odd_images, "again"))
    # A result does not depend on the other images; alone, the first has the same index and key.
    (tmp_path / "one").mkdir()
    shutil.copy(odd_images / "alpha.png", tmp_path / "one")
    assert np.abs(transform(tmp_path / "one", "alone")["alpha.png"] - made["alpha.png"]).max() <= 1
    single = transform(odd_images / "alpha.png", "single")
    assert list(single) == ["alpha.png"]
    assert np.abs(single["alpha.png"] - made["alpha.png"]).max() <= 1
    if name == "pix2pix":  # whose noise is dropout
        other = transform(odd_images, "other", "--seed=1")
        assert any((other[key] != made[key]).any() for key in made)
        chex.assert_trees_all_equal(made, transform(odd_images, "named", "--name=translate"))
    known = ["--mode=transform", f"--workdir={run}", f"--input={odd_images}"]
    output = f"--output={tmp_path / 'none'}"
    says = [
        "transform of task",
        "'back'",
        "one of",
        "reconstruct" if name == "vae" else "translate",
    ]
    refuse(capsys, *known, output, "--name=back", says=says, keeps=odd_images)
    says = ["labels=[0]", "takes none"]
    refuse(capsys, *known, output, "--labels=0", says=says, keeps=odd_images)
    assert (snapshot(run), snapshot(odd_images)) == before


def test_transform_of_one_file(
    capsys: pytest.CaptureFixture, run_of: Callable[[str], Trained], odd_images: Path
) -> None:
    known = ["--mode=transform", f"--workdir={run_of('vae').workdir}"]
    photo = odd_images / "wide.png"
    says = [f"holds the input {photo}"]
    arguments = [f"--input={photo}", f"--output={odd_images}"]
    refuse(capsys, *known, *arguments, says=says, keeps=odd_images)
    notes = odd_images / "notes.txt"
    says = [str(notes), "cannot"]
    arguments = [f"--input={notes}", f"--output={odd_images / 'out'}"]
    refuse(capsys, *known, *arguments, says=says, keeps=odd_images)


def test_sampling_needs_no_data(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = tmp_path / "data.npz", tmp_path / "run"
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8), np.uint8)
    np.savez(data, image=images, label=np.arange(64) % 10)
    source = ["--config.data.source=npz", f"--config.data.path={data}"]
    config = "--config=configs/dcgan.py:smoke"
    succeed(capsys, config, *CONDITIONAL, *source, f"--workdir={run}")
    data.unlink()
    succeed(capsys, "--mode=sample", f"--workdir={run}", "--num=2")
    assert (run / "generated" / "000001.png").is_file()
    says = [str(data), "is not a file"]
    refuse(capsys, "--mode=eval", f"--workdir={run}", says=says, keeps=run)
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert gan_jax.load(moved).sample(2).shape == (2, 16, 16, 1)


def run_main(*arguments: str) -> tuple[str, str]:
    """Run main.py in a process of its own; return stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_our_warnings_are_the_only_ones(copy_of: Callable[[str], Path]) -> None:
    run = copy_of("dcgan")
    damaged = next((run / "checkpoints" / "2" / "default" / "d").iterdir())
    damaged.write_bytes(damaged.read_bytes()[::-1])
    warning = "WARNING: checkpoint 2 is damaged or incomplete: using 1\n"
    out, err = run_main("--mode=sample", f"--workdir={run}", "--num=2")
    assert err == warning and text_of(run / "generated" / "000000.png")["step"] == "1"
    out, err = run_main(f"--workdir={run}")
    assert err == warning and "trained to step 2" in out


def test_libraries_are_quiet(data_at_hand: Path) -> None:
    where = f"--config.data.dir={data_at_hand / 'tfds'}"
    _, err = run_main("--mode=inspect", "--config=configs/classifier.py:mnist", where)
    assert err == ""
