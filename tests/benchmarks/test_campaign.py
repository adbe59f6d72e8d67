"""benchmarks/campaign.py runs what is planned, once, in order, and keeps the results."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from benchmarks import campaign
from configs.results_common import read_rows, write_rows
from gan_jax.rundir.workdir import read_config

# In the place of main.py: "trains" (fails or is interrupted where the run's folder says so) and
# "evaluates" to the seed and the number of its calls.
FAKE = """
import json, pathlib, sys, time
flags = dict(word[2:].partition("=")[::2] for word in sys.argv[1:])
run = pathlib.Path(flags["workdir"])
run.mkdir(parents=True, exist_ok=True)
with (run / "calls").open("a") as file:
    print(*sys.argv[1:], file=file)
if flags.get("mode") == "eval":
    (run / "eval").mkdir(exist_ok=True)
    seed = json.loads((run / "config.json").read_text())
    found = {"psnr/test/3": 30.0 + seed, "psnr[bicubic]/test/3": 29.0}
    (run / "eval" / "4.json").write_text(json.dumps(found))
elif "hang" in flags["workdir"]:
    time.sleep(600)
elif not (run / "config.json").exists():
    (run / "config.json").write_text(flags["config.seed"])
    if "stop" in flags["config"]:
        print("error: no such data")
        sys.exit(2)
"""


def row(argument: str, worth: int, seeds: list[int], **changes: Any) -> dict[str, Any]:
    """Return a planned row; its training is expected to take a minute."""
    empty = dict(what="x", seeds=None, steps=4, metrics={}, minutes=None, machine="", date="")
    plan = dict(seeds=seeds, minutes=1, worth=worth)
    command = f"python main.py --config=configs/edsr.py:{argument}"
    evaluated = "python main.py --mode=eval --workdir=RUN"
    return (
        empty | dict(argument=argument, command=command, evaluated=evaluated, plan=plan) | changes
    )


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of result files: two rows of one config, one of another."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "main.py").write_text(FAKE)
    monkeypatch.setattr(campaign, "ROOT", tmp_path / "checkout")
    folder = tmp_path / "results"
    folder.mkdir()
    other = row("b,path=PHOTOS", 9, [0], plan=dict(seeds=[0], minutes=1, worth=9))
    write_rows(
        folder / "edsr.json", [row("a", 1, [0, 1]), other, {**row("c", 99, []), "seeds": [0]}]
    )
    first = (
        "python main.py --config=configs/srgan.py:s --config.train.init_from=RUN:edsr:b,path=PHOTOS"
    )
    write_rows(folder / "srgan.json", [row("s", 8, [0], command=first)])
    return folder


def run(results: Path, *flags: str) -> int:
    root = results.parent / "runs"
    given = [f"--root={root}", f"--results={results}", "--machine=m", "--set=PHOTOS=DIR"]
    return campaign.main([*given, *flags])


def calls(results: Path, run: str) -> list[str]:
    return (results.parent / "runs" / run / "calls").read_text().splitlines()


def test_rows_are_run_by_worth_and_their_files_filled(results: Path, capsys: Any) -> None:
    assert run(results, "--dry-run") == 0
    listed = capsys.readouterr().out.splitlines()
    named = ["edsr:b,path=PHOTOS seed 0", "srgan:s seed 0", "edsr:a seed 0", "edsr:a seed 1"]
    assert [name in line for name, line in zip(named, listed, strict=False)] == [True] * 4
    assert listed[-1] == "4 trainings, 4 min" and not (results.parent / "runs").exists()
    assert run(results) == 0
    first, second = read_rows(results / "edsr.json")[:2]
    assert first["seeds"] == [0, 1] and first["metrics"] == {"psnr/test/3": [30.0, 31.0]}
    assert len(first["minutes"]) == 2 and first["machine"] == "m" and "jax" in first["versions"]
    assert "plan" not in first and "plan" not in second
    (training, _) = calls(results, "edsr/b,path=PHOTOS/0")
    assert "--config=configs/edsr.py:b,path=DIR " in training and "--config.seed=0" in training
    (training, _) = calls(results, "srgan/s/0")
    there = results.parent / "runs" / "edsr" / "b,path=PHOTOS" / "0"
    assert f"--config.train.init_from={there} " in training
    assert run(results) == 0 and len(calls(results, "edsr/a/1")) == 2  # nothing is left to do


def test_a_failure_is_named_and_the_others_are_done(results: Path, capsys: Any) -> None:
    write_rows(results / "edsr.json", [row("stop", 9, [0]), row("a", 1, [0, 1])])
    assert run(results) == 1
    out = capsys.readouterr().out
    assert "edsr:stop seed 0: exit code 2: error: no such data (log: " in out
    assert "srgan:s seed 0: needs the run of edsr:b,path=PHOTOS with seed 0" in out
    assert "2 done, 2 failed, 0 left" in out
    stopped, whole = read_rows(results / "edsr.json")
    assert stopped["seeds"] is None and "plan" in stopped and whole["seeds"] == [0, 1]
    # The run is there: it is resumed, not begun again.
    assert run(results, "--only=edsr") == 0
    workdir = results.parent / "runs" / "edsr" / "stop" / "0"
    assert calls(results, "edsr/stop/0")[1] == f"--workdir={workdir}"


def test_it_stops_before_a_row_that_does_not_fit(results: Path, capsys: Any) -> None:
    assert run(results, "--minutes=0.5") == 0
    assert "0 done, 0 failed, 4 left" in capsys.readouterr().out
    # What is trained already takes no time.
    done = results.parent / "runs" / "edsr" / "b,path=PHOTOS" / "0"
    done.mkdir(parents=True)
    (done / "config.json").write_text("0")
    (done / campaign.STATE).write_text(json.dumps({"minutes": 7.0, "trained": True}))
    assert run(results, "--minutes=0.5") == 0
    assert "1 done, 0 failed, 3 left" in capsys.readouterr().out
    assert read_rows(results / "edsr.json")[1]["minutes"] == [7.0]


def test_an_interruption_ends_the_training_and_keeps_its_time(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = []

    class Child(campaign.subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if not children:
                children.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(campaign.subprocess, "Popen", Child)
    write_rows(results / "edsr.json", [row("hang", 9, [0])])
    assert run(results, "--only=edsr") == 130
    assert children[0].returncode == -signal.SIGTERM
    state = campaign.read_state(results.parent / "runs" / "edsr" / "hang" / "0")
    assert state["minutes"] > 0 and not state["trained"]
    assert read_rows(results / "edsr.json")[0]["seeds"] is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set=PHOTOS"], "--set=PHOTOS: must be WORD=VALUE"),
        (["--only=cat"], "--only=cat: of edsr, srgan"),
        (["--root=INSIDE"], "runs belong outside of the checkout"),
    ],
)
def test_mistakes(results: Path, flags: list[str], said: str, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(results, *(flag.replace("INSIDE", str(campaign.ROOT / "runs")) for flag in flags))
    assert said in capsys.readouterr().err


def test_a_real_training(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    command = (
        "python main.py --mode=eval --workdir=RUN --metrics=restoration && python"
        " benchmarks/restoration_at.py --workdir=RUN --config=configs/edsr.py:photos --perceptual"
    )
    write_rows(folder / "edsr.json", [row("smoke", 1, [3], steps=2, evaluated=command)])
    jobs = campaign.jobs_in(folder)
    given = dict(root=tmp_path / "runs", results=folder, given={}, minutes=9, on="m")
    assert [error for _, error in campaign.run(jobs, **given)] == [""]
    (done,) = read_rows(folder / "edsr.json")
    names = [name.split("/")[0:2] for name in done["metrics"]]
    assert ["psnr", "y"] in names and done["seeds"] == [3]
    # The photographs and their degradation are those of the baselines.
    found = json.loads((tmp_path / "runs/edsr/smoke/3/eval/2.json").read_text())
    kept = json.loads((ROOT / "configs/restoration_baselines.json").read_text())["x2"][0]["metrics"]
    name = "psnr/y/border2/x2/test/3"
    assert found[name.replace("psnr", "psnr[bicubic]")] == pytest.approx(kept[name], abs=1e-3)
    distances = "activations/efficientnet_lite0/x2/test/3"
    assert done["metrics"][distances][0] > 0 and distances.replace("s/", "s[lanczos]/", 1) in found
    assert read_config(tmp_path / "runs/edsr/smoke/3").seed == 3
    # A training that is done but not marked as such ends at once.
    (tmp_path / "runs/edsr/smoke/3" / campaign.STATE).unlink()
    campaign.train(jobs[0], tmp_path / "runs", {})
    assert campaign.read_state(tmp_path / "runs/edsr/smoke/3")["trained"]
