"""Looking at a training from outside: what is shown of a run, at any moment of it."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.library import progress as module
from gan_jax.rundir.workdir import alone


@pytest.fixture
def run(gan: Path, tmp_path: Path) -> Path:
    """Return a run that has no log yet, 100 steps of 8 images long, and has just begun."""
    run = tmp_path / "run"
    shutil.copytree(gan, run, ignore=shutil.ignore_patterns("checkpoints", "samples", "*.jsonl"))
    config = json.loads((run / "config.json").read_text())
    config["train"]["steps"] = 100
    config["eval"]["best"] = "min:fid"
    (run / "config.json").write_text(json.dumps(config))
    record = json.loads((run / "environment.json").read_text())
    record["starts"].append({**record["starts"][0], "time": "2026-01-01T00:00:00+00:00"})
    (run / "environment.json").write_text(json.dumps(record))
    return run


BEGAN = 1767225600.0  # that time in seconds since 1970


def line(step: int, second: float, **numbers: float) -> str:
    return json.dumps({"step": step, "time/unix": BEGAN + second, **numbers}) + "\n"


def test_from_before_the_first_line_to_the_last(run: Path, gan: Path) -> None:
    shown = gan_jax.progress(run)
    assert repr(shown).startswith("not running: nothing is logged yet")
    assert shown.step == 0 and shown.seconds_per_step is None and shown.best is None
    assert "<pre>" in shown._repr_html_()
    log = run / "metrics.jsonl"
    fid = "eval/fid/cnn:run/eval/16"
    lines = [
        line(10, -500, gen=9.0, disc=0.9),  # of a start before
        line(20, 10, gen=1.0, disc=0.5, **{"time/images_per_second": 16.0}),
    ]
    log.write_text("".join(lines))
    # One line of this start: 16 images a second in batches of 8.
    assert gan_jax.progress(run).seconds_per_step == 0.5
    lines += [
        line(30, 30, gen=2.0, disc=0.4, **{fid: 7.0, "eval/accuracy[a]": 0.5}),
        line(40, 50, gen=math.nan, disc=0.25, **{fid: 5.0, "grad_norm/gen": 3.0}),
        line(50, 70, gen=4.0, disc=0.125, **{fid: 6.0}),
    ]
    log.write_text("".join(lines))
    shown = gan_jax.progress(run)
    # 60 s for 30 steps, so that the 50 steps left take 100 s; 8 images a step.
    assert shown.seconds_per_step == 2.0 and shown.step == 50
    assert shown.best == (40, "fid/cnn:run/eval/16", 5.0)
    text = repr(shown)
    assert text.startswith("not running: step 50 of 100, 4 images/s, 0.5 steps/s, logged ")
    assert "training: gen 4, disc 0.125" in text and "grad_norm: gen 3" in text
    assert "evaluation at step 50: fid/cnn:run/eval/16 6" in text
    assert "best so far (min:fid): fid/cnn:run/eval/16 5 at step 40" in text
    # A line that is being written is not there yet.
    log.write_text("".join(lines) + line(60, 90, gen=5.0)[:-9])
    assert gan_jax.progress(run).step == 50
    shutil.copytree(gan / "samples", run / "samples")
    html = gan_jax.progress(run)._repr_html_()
    plots = [ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", html)]
    titles = [plot.findtext("{*}title") for plot in plots]
    assert titles == ["gen", "disc", fid]
    # Values fall from top to bottom: disc only falls, and its last is the lowest.
    places = plots[1].find("{*}polyline").get("points").split()
    heights = [float(place.split(",")[1]) for place in places]
    assert heights == sorted(heights) and len(heights) == 5
    assert len(plots[0].find("{*}polyline").get("points").split()) == 4, "NaN is left out"
    picture = base64.b64decode(re.search('base64,([^"]*)', html).group(1))
    assert picture == max((gan / "samples").glob("*_samples.png")).read_bytes()


def test_a_training_that_runs(run: Path, tmp_path: Path) -> None:
    """Time left is said of what runs; a log may grow while it is read."""
    log = run / "metrics.jsonl"
    log.touch()
    stop, failures = threading.Event(), []

    def write() -> None:
        with alone(run), log.open("a") as file:
            step = 0
            while not stop.is_set() and step < 99:
                step += 1
                text = line(step, step, gen=1 / step)
                for part in (text[:7], text[7:]):  # as a disk may show it
                    file.write(part)
                    file.flush()
                    time.sleep(0.001)
            stop.wait()

    def look() -> None:
        known = 0
        while known < 99:
            shown = gan_jax.progress(run)
            if shown.step < known or not shown.running:
                failures.append(repr(shown))
                return
            known = shown.step

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 20
        while not gan_jax.progress(run).running and time.monotonic() < deadline:
            pass
        look()
        text = repr(gan_jax.progress(run))
    finally:
        stop.set()
        writer.join()
    assert not failures
    assert text.startswith("running: step 99 of 100, 1 s left, 8 images/s, 1 steps/s, logged ")
    assert repr(gan_jax.progress(run)).startswith("not running")
    # A training that has taken the folder and written nothing.
    (tmp_path / "new").mkdir()
    with alone(tmp_path / "new"):
        assert repr(gan_jax.progress(tmp_path / "new")).startswith("running: nothing is logged")
    with pytest.raises(UserError, match="is not a run"):
        gan_jax.progress(tmp_path / "new")


def test_the_log_as_a_table(gan: Path) -> None:
    pytest.importorskip("pandas")
    shown = gan_jax.progress(gan)
    assert repr(shown).startswith("complete: step 2 of 2")
    assert shown.metrics.index.tolist() == [1, 2]
    assert shown.metrics.loc[2, "gen"] == shown.rows[1]["gen"]
    assert shown.metrics["diversity/samples"].isna().tolist() == [True, False]


def test_long_logs_are_thinned() -> None:
    points = [(step, float(step % 2)) for step in range(100_000)]
    binned = list(module._binned(points))
    assert len(binned) == module._POINTS
    assert all((mean, low, high) == (0.5, 0.0, 1.0) for _, mean, low, high in binned)
    assert len(module._plot("x", points)) < 10_000
    assert module._plot("x", [(1, math.nan)]) == ""
    assert [module._duration(s) for s in (5, 185, 7380, 270_000)] == [
        *("5 s", "3:05 min", "2:03 h", "3.1 days")
    ]


def test_losses_of_levels_are_plotted(tmp_path: Path) -> None:
    row = {"step": 1, "level0/gen": 1.0, "level0/grad_norm/gen": 2.0, "learning_rate/gen": 0.1}
    shown = module.Progress(tmp_path, 2, (row,), False, "", "gan on digits", 8, 0.0)
    assert re.findall("<title>(.*?)</title>", shown._repr_html_()) == ["level0/gen"]


def test_numbers_of_parts_are_shown_where_there_are_no_others(tmp_path: Path) -> None:
    row = {"step": 1, "eval/psnr[ab]": 12.0, "eval/psnr[ba]": 11.0}
    shown = [
        repr(module.Progress(tmp_path, 2, (more,), False, "", "cyclegan on emoji", 8, 0.0))
        for more in (row, {**row, "eval/psnr": 13.0})
    ]
    assert "evaluation at step 1: psnr[ab] 12, psnr[ba] 11" in shown[0]
    assert "evaluation at step 1: psnr 13" in shown[1] and "psnr[ab]" not in shown[1]
