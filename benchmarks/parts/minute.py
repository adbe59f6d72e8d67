"""Results of short trainings: FID, precision, recall and samples.

main.py trains each config at its own image and batch size. All start at once; a training that has
taken its first steps is stopped (SIGSTOP) until its turn, continues alone for its time, and is then
asked by SIGTERM to save and end, so that compilation is not counted. A classifier is trained too;
FID, precision and recall (k = 3) are computed in its features, for the test images and as many
generated ones. Evaluations run concurrently after all trainings, and each run draws 64 samples.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.parts.context import ROOT, Context, shortened
from benchmarks.processes import Failure, reason
from gan_jax.core.metric_names import MetricName
from gan_jax.library.outputs import SHEET

TABLE = "What some seconds of training buy"
SECONDS = 15.0  # maximum training time; with --only four times as long
EVALUATING = 25.0  # seconds reserved for the evaluations
CLASSIFIER = 800  # steps
_FIELDS = ("steps=1000000", "log_every=10", "sample_every=0", "save_every=1000000")
RUNS = {
    "dcgan": "dcgan.py:mnist,conditional=projection",
    "biggan": "biggan.py:mnist",
    "vae": "vae.py:mnist",
}
# Rehearsals: scikit-learn's digits, tiny networks.
TINY = {
    "dcgan": ("dcgan.py:digits,size=16,width=4,conditional=projection", ()),
    "biggan": (
        "biggan.py:digits,size=16,width=2",
        (
            "task.disc_updates=1",
            "train.batch_size=16",
            "model.disc.width=2",
            "model.latent=6",
            "model.gen.attention=0",
            "model.disc.attention=0",
        ),
    ),
    "vae": ("vae.py:digits,size=16,width=4", ("train.batch_size=16",)),
}


def has_mnist() -> bool:
    """Return whether MNIST is prepared in TFDS_DATA_DIR."""
    folder = os.environ.get("TFDS_DATA_DIR")
    return bool(folder) and (Path(folder) / "mnist").is_dir()


@dataclasses.dataclass
class Training:
    """A process of main.py, and its run.

    Attributes:
      name: of the run.
      run: its folder.
      process: in the part's process group.
      log: what it printed.
    """

    name: str
    run: Path
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Return what it logged, whole lines only."""
        path = self.run / "metrics.jsonl"
        text = path.read_text() if path.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def step(self) -> int:
        """The last step that it logged."""
        return max((line.get("step", 0) for line in self.lines()), default=0)

    def wait(self, seconds: float) -> None:
        """Wait for its end; raise Failure if it fails or takes longer."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure("out of time") from None
        if code not in (0, 128 + signal.SIGTERM):
            raise Failure(reason(self.log) or f"exit code {code}")


def command(context: Context, name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start main.py; return its process and its log."""
    log = context.work / f"minute_{name}.log"
    environment = context.environment()
    # Programs are kept for the evaluations, away from the home.
    environment["XDG_CACHE_HOME"] = str(context.work / "cache")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "main.py", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return process, log


def train(context: Context, name: str, config: str, fields: tuple[str, ...]) -> Training:
    """Start a training."""
    run = context.work / name
    changes = [f"--config.{field}" for field in fields]
    process, log = command(
        context, name, f"--config=configs/{config}", f"--workdir={run}", *changes
    )
    return Training(name, run, process, log)


def run(context: Context) -> None:
    """Train, in turns; then evaluate, side by side."""
    if not context.tiny and not has_mnist():
        context.emit(TABLE, note="skipped: no MNIST in TFDS_DATA_DIR")
        return
    chosen = {name: (config, ()) for name, config in RUNS.items()}
    steps, classifier = CLASSIFIER, "classifier.py:mnist"
    if context.tiny:
        chosen, steps, classifier = dict(TINY), 20, "classifier.py:digits,size=16,width=4"
        if context.smoke:
            del chosen["biggan"], chosen["vae"]
    fixed = tuple(f"train.{field}" for field in _FIELDS)
    seer = train(context, "cnn", f"{classifier},steps={steps}", ("eval.every=0", "eval.best="))
    trainings = [train(context, n, c, (*fixed, *more)) for n, (c, more) in chosen.items()]
    waiting = stop_when_started(context, [*trainings], seer)
    try:
        seer.wait(context.left(EVALUATING / 2))
        features = f"cnn:{seer.run}"
    except Failure as failure:
        features = ""
        context.emit(TABLE, training="classifier", note=shortened(str(failure)))
    evaluating = min(EVALUATING, context.left() / 3)
    rows = []
    for place, training in enumerate(trainings):
        cells: dict[str, Any] = {"training": chosen[training.name][0]}
        share = context.left(evaluating) / (len(trainings) - place)
        most = 4 * SECONDS if context.whole else SECONDS
        seconds = min(share, 2.0 if context.smoke else most)
        try:
            if training.name not in waiting:
                raise Failure(reason(training.log) or "not compiled in its time")
            cells.update(resume(training, seconds, context.left(2.0)))
        except Failure as failure:
            context.emit(TABLE, **cells, note=shortened(str(failure)))
            continue
        rows.append((training, cells))
    evaluate(context, rows, features)


def stop_when_started(
    context: Context, trainings: list[Training], seer: Training
) -> dict[str, Training]:
    """Stop each training after its first log line; return the stopped ones."""
    found: dict[str, Training] = {}
    end = time.monotonic() + 0.5 * context.left()
    while len(found) < len(trainings) and time.monotonic() < end:
        for training in trainings:
            ended = training.process.poll() is not None
            if training.name not in found and not ended and training.step:
                training.process.send_signal(signal.SIGSTOP)
                found[training.name] = training
        if all(t.name in found or t.process.poll() is not None for t in trainings):
            break
        time.sleep(0.1)
    for training in trainings:
        if training.name not in found:
            with contextlib.suppress(ProcessLookupError):
                training.process.kill()
    return found


def resume(training: Training, seconds: float, most: float) -> dict[str, Any]:
    """Resume a stopped training for some seconds, let it save and end; return its results."""
    before = training.step
    began = time.monotonic()
    training.process.send_signal(signal.SIGCONT)
    time.sleep(seconds)
    training.process.send_signal(signal.SIGTERM)
    passed = time.monotonic() - began
    training.wait(max(most - passed, 0.0))
    after = training.step
    lines = [line for line in training.lines() if "time/images_per_second" in line]
    speed = lines[-1]["time/images_per_second"] if lines else ""
    return {"seconds": passed, "steps": after - before, "images/s": speed}


def draw(context: Context, training: Training) -> Training:
    """Start to draw samples of a run."""
    folder = context.work / f"samples_{training.name}"
    arguments = ["--mode=sample", f"--workdir={training.run}", "--num=64", f"--output={folder}"]
    process, log = command(context, f"sample_{training.name}", *arguments)
    return Training(training.name, folder, process, log)


def keep_picture(context: Context, drawn: Training) -> str:
    """Copy the image of samples to the output; return the reason if that fails."""
    try:
        drawn.wait(context.left(0.5))
    except Failure as failure:
        return f"samples: {failure}"
    shutil.copy(drawn.run / SHEET, context.output / f"minute_{drawn.name}.png")
    return ""


def evaluate(context: Context, rows: list[tuple[Training, dict[str, Any]]], features: str) -> None:
    """Evaluate runs concurrently, and print their rows."""
    number = "100" if context.tiny else "10000"
    split = "eval" if context.tiny else "test"
    started = []
    drawn = {training.name: draw(context, training) for training, _ in rows}
    for training, cells in rows if features else []:
        arguments = ["--mode=eval", f"--workdir={training.run}", f"--features={features}"]
        arguments += ["--metrics=fid,prdc", f"--num={number}", f"--split={split}"]
        process, log = command(context, f"eval_{training.name}", *arguments)
        started.append((training, cells, dataclasses.replace(training, process=process, log=log)))
    for training, cells, evaluation in started:
        try:
            evaluation.wait(context.left(0.5))
            (path,) = (p for p in (training.run / "eval").glob("*.json") if "about" not in p.name)
            values = {
                MetricName.parse(k).metric: v for k, v in json.loads(path.read_text()).items()
            }
            names = {"FID": "fid", "precision": "precision_k3", "recall": "recall_k3"}
            cells.update({title: values[name] for title, name in names.items()})
            cells["images, each side"] = int(number)
        except Failure as failure:
            cells["note"] = shortened(str(failure))
        context.emit(TABLE, **cells)
    for training, cells in rows:
        if not features:
            context.emit(TABLE, **cells, note="no classifier to see by")
        if why := keep_picture(context, drawn[training.name]):
            context.emit(TABLE, training=cells["training"], note=shortened(why))
