"""The results table: which numbers stand together, and how they are written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import refuse, succeed
from conftest import Trained

FID, PRECISION = "fid/cnn:run/test/100", "precision_k3/cnn:run/test/100"


@pytest.fixture
def runs(run_of: Callable[[str], Trained], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes an evaluated run out of a family's."""

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
