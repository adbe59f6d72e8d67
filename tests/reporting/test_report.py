"""Results tables: which numbers are grouped, and how they are formatted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import refuse, succeed
from conftest import Trained
from PIL import Image

from gan_jax.core.metric_names import MetricName
from gan_jax.metrics.confusion import Confusion

FID, PRECISION = "fid/cnn:run/test/100", "precision_k3/cnn:run/test/100"


@pytest.fixture
def runs(run_of: Callable[[str], Trained], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes an evaluated run from a copy of a family's run."""

    def make(
        name: str, family: str, seed: int, values: dict[str, float], weights: str = "ab" * 32
    ) -> Path:
        run = tmp_path / name
        run.mkdir()
        for file in ("config.json", "spec.json"):
            shutil.copy(run_of(family).workdir / file, run)
        config = json.loads((run / "config.json").read_text())
        config["seed"], config["eval"]["every"] = seed, seed
        (run / "config.json").write_text(json.dumps(config))
        (run / "eval").mkdir()
        (run / "eval" / "1.json").write_text(json.dumps(dict.fromkeys(values, 1e9)))
        (run / "eval" / "2.json").write_text(json.dumps(values))
        about = {name: {"weights": weights} for name in values if "cnn" in name}
        (run / "eval" / "2.about.json").write_text(json.dumps(about))
        (run / "eval" / "1.about.json").write_text(json.dumps(about))
        return run

    return make


def test_seeds_together_and_protocols_apart(
    capsys: pytest.CaptureFixture, runs: Callable[..., Path], tmp_path: Path
) -> None:
    there = [
        runs("dcgan_s0", "dcgan", 0, {FID: 10.0, PRECISION: 0.5, "fid/cnn:run/test/50": 70.0}),
        runs("dcgan_s1", "dcgan", 1, {FID: 13.0, PRECISION: 0.5}),
        runs("vae_s0", "vae", 0, {FID: 20.12345, "elbo/test/100": -7.0}),
        runs("other", "vae", 3, {FID: 30.0}, weights="cd" * 32),
    ]
    where = f"--workdir={','.join(map(str, there))}"
    out = succeed(capsys, "--mode=report", where, "--metrics=fid,precision_k3")
    lines = [line for line in out.splitlines() if line]
    data = lines[0].split("data `")[1][:8]
    assert lines == [
        f"Protocol `cnn:run/test/100`: synthetic, 16x16x1; data `{data}`, weights `abababab`."
        " Mean ± standard deviation over the seeds.",
        "| run | seeds | step | fid | precision_k3 |",
        "|---|---|---|---|---|",
        "| dcgan | 0, 1 | 2 | 11.5 ± 2.1 | 0.5 ± 0 |",
        "| vae_s0 | 0 | 2 | 20.12 |  |",
        f"Protocol `cnn:run/test/100`: synthetic, 16x16x1; data `{data}`, weights `cdcdcdcd`.",
        "| run | seeds | step | fid |",
        "|---|---|---|---|",
        "| other | 3 | 2 | 30 |",
        f"Protocol `cnn:run/test/50`: synthetic, 16x16x1; data `{data}`, weights `abababab`.",
        "| run | seeds | step | fid |",
        "|---|---|---|---|",
        "| dcgan_s0 | 0 | 2 | 70 |",
    ]
    assert "elbo" in succeed(capsys, "--mode=report", where)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results: mnist -->\nold\n<!-- end of results -->\nafter\n")
    for _ in range(2):
        succeed(capsys, "--mode=report", where, "--metrics=fid,precision_k3", f"--output={page}")
        table = out.rstrip("\n")
        assert page.read_text() == (
            f"before\n<!-- results: mnist -->\n\n{table}\n\n<!-- end of results -->\nafter\n"
        )
    places = "".join(
        f"<!-- results: {name} -->\n{{}}<!-- end of results -->\n" for name in ("a", "b")
    )
    page.write_text(places.format("1\n", "2\n"))
    succeed(capsys, "--mode=report", where, "--metrics=fid,precision_k3", f"--output={page}#b")
    assert page.read_text() == places.format("1\n", f"\n{table}\n\n")


def by_class(accuracies: list[float], confused: float) -> dict[str, float]:
    """Return the results of a per-class evaluation in the current file format."""
    parts = {f"accuracy[{i}]/eval/16": value for i, value in enumerate(accuracies)}
    return {"accuracy/eval/16": 0.5, "balanced_accuracy/eval/16": 0.25 * confused, **parts}


def test_what_never_happened_counts_as_zero(
    capsys: pytest.CaptureFixture, runs: Callable[..., Path]
) -> None:
    """Three seeds; in the second a 0 was never taken for a 7: 0.67 times on average."""
    there = []
    for seed, confused in enumerate((1, 0, 1)):
        run = runs(f"cnn_s{seed}", "classifier", seed, by_class([0.5, 0.75], confused))
        counts = np.zeros((10, 10))
        counts[0, 7] = confused
        matrix = Confusion(tuple("0123456789"), counts)
        record = {"confusion/eval/16": matrix.to_dict()}
        (run / "eval" / "2.matrices.json").write_text(json.dumps(record))
        there.append(run)
    older = runs("older", "classifier", 9, {"balanced_accuracy/eval/16": 0.5})
    wrong = {f"confusion/0/{i}/eval/16": 1.0 for i in range(1, 10)}
    about = {"accuracy/0/eval/16": 0.25, **wrong}
    (older / "eval" / "2.json").write_text(json.dumps(about))
    config = json.loads((older / "config.json").read_text())
    config["model"]["width"] = 5
    (older / "config.json").write_text(json.dumps(config))
    where = f"--workdir={','.join(map(str, [*there, older]))}"
    out = succeed(capsys, "--mode=report", where, "--metrics=by_class")
    tables = [part.splitlines() for part in out.split("\n\n") if part.startswith("|")]
    # Whole splits, then classes, then one matrix per group; no class is taken for a protocol.
    assert [table[0] for table in tables] == [
        "| run | seeds | step | balanced_accuracy |",
        "| accuracy of | cnn | older |",
        *["| true \\ predicted | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |"] * 2,
    ]
    assert tables[0][2] == "| cnn | 0, 1, 2 | 2 | 0.17 ± 0.14 |"
    assert tables[1][2:] == ["| 0 | 0.5 ± 0 | 0.25 |", "| 1 | 0.75 ± 0 |  |"]
    zeros = "0 ± 0 | " * 6
    assert tables[2][2] == f"| 0 | 0 ± 0 | {zeros}0.67 ± 0.58 | 0 ± 0 | 0 ± 0 |"
    assert tables[3][2:4] == ["| 0 |  " + "| 1 " * 9 + "|", "| 1 | 0 |  " + "| 0 " * 8 + "|"]
    assert out.count("rows are the true class, columns the predicted one") == 2
    everything = succeed(capsys, "--mode=report", where)
    assert "| run | seeds | step | accuracy | balanced_accuracy |" in everything
    assert succeed(capsys, "--mode=report", where, "--metrics=accuracy").count("|---") == 5 - 1


def test_a_mean_of_fewer_seeds_says_so(
    capsys: pytest.CaptureFixture, runs: Callable[..., Path]
) -> None:
    both, one = {FID: 10.0, PRECISION: 0.5}, {FID: 12.0}
    there = [runs(f"dcgan_s{i}", "dcgan", i, v) for i, v in enumerate((both, one))]
    out = succeed(capsys, "--mode=report", f"--workdir={there[0]},{there[1]}")
    assert out.splitlines()[-1] == "| dcgan | 0, 1 | 2 | 11.0 ± 1.4 | 0.5 (1 of 2) |"


def test_evaluation_by_class_leaves_a_matrix_and_its_picture(
    capsys: pytest.CaptureFixture, run_of: Callable[[str], Trained], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_of("classifier").workdir, tmp_path / "run"))
    out = succeed(capsys, "--mode=eval", f"--workdir={run}", "--metrics=by_class")
    (path,) = (run / "eval").glob("*.matrices.json")
    step = path.name.partition(".")[0]
    ((name, record),) = json.loads(path.read_text()).items()
    assert name == "confusion/eval/16" and np.sum(record["counts"]) == 16
    assert (record["rows"], record["columns"]) == ("true class", "predicted class")
    found = json.loads((run / "eval" / f"{step}.json").read_text())
    assert [key for key in found if key.startswith("accuracy[")] and "rows are the true" in out
    for key in found:
        part = MetricName.parse(key)
        if part.part:
            counts = record["counts"][record["classes"].index(part.part)]
            right = counts[record["classes"].index(part.part)]
            assert found[key] == pytest.approx(right / sum(counts))
    with Image.open(run / "eval" / f"{step}_confusion_eval_16.png") as picture:
        assert picture.size[0] > 10 * 40


def test_picture_of_a_matrix() -> None:
    """The cell in row i and column j counts i taken for j; names are at the left and the top."""
    counts = np.array([[5.0, 0, 0], [0, 1, 9], [0, 0, 2]])
    picture = Confusion(("a", "bb", "ccc"), counts).picture().astype(int)
    corner = picture[:, :, 0]
    (left, *_) = np.flatnonzero(corner[-8 - 3 * 44 + 2] == 8)  # the first cell of the first row
    square = corner[-8 - 3 * 44 : -8, left : left + 3 * 44]
    cells = square.reshape(3, 44, 3, 44)[:, 4, :, 4]
    assert cells[1, 2] < cells[1, 1] < cells[0, 1] == cells[2, 1] == 255 and cells[0, 0] == 8
    many = Confusion(tuple(map(str, range(50))), np.eye(50)).picture()
    assert many.shape[0] == many.shape[1] == 50 * 32


def test_mistakes(
    capsys: pytest.CaptureFixture,
    runs: Callable[..., Path],
    run_of: Callable[[str], Trained],
    tmp_path: Path,
) -> None:
    run = runs("run", "dcgan", 0, {FID: 10.0})
    page = tmp_path / "page.md"
    page.write_text("no place\n")
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in ("config.json", "spec.json"):
        shutil.copy(run_of("dcgan").workdir / file, bare)
    for arguments, says in (
        ([], ["--workdir=RUN,RUN"]),
        ([f"--workdir={run},{tmp_path / 'none'}"], ["none is not a run"]),
        ([f"--workdir={run}", "--metrics=fdi"], ["fdi", "did you mean 'fid'"]),
        ([f"--workdir={bare}"], ["none of the runs was evaluated", "--mode=eval"]),
        ([f"--workdir={run}", f"--output={page}"], [str(page), "<!-- results: NAME -->"]),
        ([f"--workdir={run}", f"--output={page}#ladder"], [str(page), "<!-- results: ladder -->"]),
        ([f"--workdir={run}", "--num=3"], ["takes no --num"]),
    ):
        refuse(capsys, "--mode=report", *arguments, says=says, keeps=tmp_path)
