"""The modes of the command: translate flags to calls and print results; the calls import JAX."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from gan_jax.cli.counting import counting
from gan_jax.core.config import (
    check_seed,
    split_names,
    split_overrides,
)
from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.places import DATA_FIELDS, place
from gan_jax.methods.configs import load_config
from gan_jax.methods.configs import resolve as complete_config
from gan_jax.planning.topology import parse_topology
from gan_jax.platform.host import compile_only, deterministic_gpus
from gan_jax.rundir.workdir import check_workdir, read_config, read_spec

if TYPE_CHECKING:
    from gan_jax.library.photo_files import Done

QUICKSTART = "configs/quickstart.py"
WEIGHTS = ("ema", "raw", None)  # values of the task option of that name


def command() -> str:
    """Return how this program was invoked, for printed commands."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name == "gan_jax":
        return "python -m gan_jax"
    return called.stem if called.stem in ("gan_jax", "gan-jax") else "python main.py"


def resolve(flags: argparse.Namespace, others: list[str]) -> tuple[ConfigDict, Path]:
    """Return the config and the workdir that the training flags specify.

    Without --config, the config is that of the run in --workdir, or the quickstart's.
    """
    overrides, rest = split_overrides(others, "--config.")
    _refuse(flags.mode, rest)
    workdir = flags.workdir
    if flags.config:
        config = load_config(flags.config, overrides)
    elif workdir and (workdir / "config.json").is_file():
        config = complete_config(read_config(workdir), overrides, what=str(workdir))
    elif workdir:
        raise UserError(f"{workdir} is not a run: say what to train there with --config=FILE.py")
    else:
        config = load_config(QUICKSTART, overrides)
    location = flags.config or QUICKSTART
    stem, _, argument = location.partition(":")
    preset = argument.split(",")[0]
    name = Path(stem).stem + (f"_{preset}" if preset else "")
    return config, workdir or Path("runs") / name


def train(flags: argparse.Namespace, others: list[str]) -> None:
    """Train or resume, and print the outcome and next commands."""
    config, workdir = resolve(flags, others)
    changes = check_workdir(workdir, config, change=flags.change)
    if config.train.deterministic:
        deterministic_gpus()
    from gan_jax.experiment.train import train as run_training
    from gan_jax.parallel import hosts

    hosts.join(flags.coordinator, flags.processes, flags.process)
    if hosts.first():
        for change in changes:
            print(f"changed for this resume: {change}")
    trusted = flags.trust_code or bool(flags.config)
    outcome = run_training(config, workdir, change=flags.change, trust_code=trusted)
    if not hosts.first():
        return
    run = shlex.quote(str(workdir))
    if outcome.status == "interrupted":
        print(f"interrupted: saved step {outcome.step} of {config.train.steps} in {run}")
        print(f"resume with:  {command()} --workdir={run}")
        return
    if outcome.status == "complete":
        print(f"{run} is complete: {outcome.step} of {config.train.steps} steps are trained.")
        print(f"use it:       {command()} --mode=eval --workdir={run}")
        print("train on:     the same command with a larger --config.train.steps")
        print("train anew:   another --workdir, or delete this one")
        return
    print(f"trained to step {outcome.step} in {outcome.seconds:.0f} s: {run}")
    pictures = "samples/  pictures, " if outcome.pictures else ""
    print(f"  {pictures}checkpoints/, metrics.jsonl, tensorboard/, config.json")
    if outcome.best is not None:
        at, value = outcome.best
        of = config.eval.best.partition(":")[2]
        print(f"  the best checkpoint is that of step {at}: {of} {value:.4g}; it is what is used")
    print("go on with:")
    if "sample" in outcome.can:
        print(f"  {command()} --mode=sample --workdir={run} --num=64 --output=out")
    if "transform" in outcome.can:
        print(f"  {command()} --mode=transform --workdir={run} --input=DIR --output=out")
    if "predict" in outcome.can:
        print(f"  {command()} --mode=predict --workdir={run} --input=DIR")
    print(f"  {command()} --mode=eval --workdir={run}")


def inspect(flags: argparse.Namespace, others: list[str]) -> None:
    """Print the data and networks of a config."""
    config, _ = resolve(flags, others)
    from gan_jax.experiment.inspection import inspect as print_inspection

    print_inspection(config, workdir=flags.workdir)


def plan(flags: argparse.Namespace, others: list[str]) -> None:
    """Print the estimated cost of training a config on another machine."""
    topology = parse_topology(flags.topology)  # before JAX is imported
    compile_only(simulated=1 if topology.platform == "tpu" else topology.chips)
    config, workdir = resolve(flags, others)
    from gan_jax.data import open_data
    from gan_jax.planning.plan import plan as print_plan

    known = (workdir / "spec.json").is_file() and not flags.config  # a run needs no data
    print_plan(config, read_spec(workdir) if known else open_data(config.data).spec, topology)


def evaluate(flags: argparse.Namespace, others: list[str]) -> None:
    """Evaluate a run, or a folder of images against another, and print a table."""
    data, rest = _data_fields(flags.mode, others)
    options, rest = split_overrides(rest, "--")
    _refuse(flags.mode, rest)
    if flags.num is not None and flags.num < 1:
        raise UserError(f"--num={flags.num}: at least 1")
    folders = flags.real is not None or flags.fake is not None
    if folders and (flags.real is None or flags.fake is None or flags.workdir is not None):
        raise UserError(
            "--mode=eval compares either --real=DIR with --fake=DIR, or a run: --workdir=RUN"
        )
    for name in ("checkpoint", "split", "images", "name", "seed", "change") if folders else ():
        if getattr(flags, name):
            raise UserError(f"--{name} is of a run: two folders have none, leave it out")
    workdir = None if folders else _existing(flags)
    if not flags.metrics:
        _refuse(flags.mode, [f"--{name}" for name in options])
        for name in ("real", "num", "features", "vgg", "heads", "images", "name"):
            if getattr(flags, name):
                raise UserError(f"--{name} needs --metrics=NAMES, such as --metrics=fid,prdc")
    # "--weights=raw" selects model weights, as in sampling; anything else is a file for --features.
    weights = options.pop("weights", None) if options.get("weights") not in WEIGHTS else None
    from gan_jax.evaluation.protocol import Request

    request = Request(
        metrics=split_names("--metrics", flags.metrics),
        features=flags.features,
        weights=place(weights) if weights else None,
        resize=flags.resize,
        num=flags.num or 0,
        images=flags.images,
        transform=flags.name,
        vgg=flags.vgg,
        heads=flags.heads,
    )
    from gan_jax.parallel import hosts

    hosts.join(flags.coordinator, flags.processes, flags.process)
    with hosts.watching(lambda: "start all of them again"):
        if folders:
            from gan_jax.evaluation.folders import evaluate_folders

            _refuse(flags.mode, [*(f"--config.{n}" for n in data), *(f"--{n}" for n in options)])
            measured = evaluate_folders(flags.real, flags.fake, request)
        else:
            from gan_jax.evaluation.evaluate import evaluate as run_evaluation

            measured = run_evaluation(
                workdir,
                checkpoint=flags.checkpoint,
                split=flags.split,
                request=request if request.metrics else None,
                seed=flags.seed,
                options=options,
                data=data,
                change=flags.change,
            )
    if not hosts.first():
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value")
    for name, value in measured.values.items():
        table.add_row(name, f"{value:.6g}")
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False)
    console.print(table)
    for name, matrix in measured.matrices.items():
        if (drawn := matrix.table(name)) is not None:
            console.print(drawn)
    for note in measured.notes:
        print(f"note: {note}")
    if workdir:
        print(f"written to {workdir / 'eval'}")


def report(flags: argparse.Namespace, others: list[str]) -> None:
    """Print the results of runs as Markdown tables."""
    _refuse(flags.mode, others)
    if flags.workdir is None:
        raise UserError("--mode=report needs --workdir=RUN,RUN,...: runs that were evaluated")
    from gan_jax.reporting.report import report as make_report

    workdirs = [place(part) for part in str(flags.workdir).split(",")]
    metrics = split_names("--metrics", flags.metrics)
    print(make_report(workdirs, metrics, flags.output))


def sample(flags: argparse.Namespace, others: list[str]) -> None:
    """Sample images from a run into a folder."""
    workdir = _existing(flags)
    paths = flags.interpolate
    num = flags.num if flags.num is not None else 8 if paths else 64
    if num < 1:
        raise UserError(f"--num={num}: at least 1")
    if flags.steps is not None and not paths:
        raise UserError(f"--steps={flags.steps} is of paths: give --interpolate=both too")
    data, rest = _data_fields(flags.mode, others)
    options, rest = split_overrides(rest, "--")
    _refuse(flags.mode, rest)
    output = flags.output or workdir / ("paths" if paths else "generated")
    common = dict(
        seed=flags.seed,
        labels=_labels(flags, workdir),
        checkpoint=flags.checkpoint,
        overwrite=flags.overwrite,
        options=options,
        data=data,
        change=flags.change,
    )
    if paths:
        steps = 8 if flags.steps is None else flags.steps
        from gan_jax.library.generate import interpolate

        path = interpolate(workdir, output, along=paths, rows=num, steps=steps, **common)
        print(f"wrote {num} paths of {steps} images to {path}")
        return
    from gan_jax.library.generate import sample as run_sampling

    files = run_sampling(workdir, output, num=num, **common)
    print(f"wrote {len(files) - 1} images to {output}, all together in {files[0]}")


def transform(flags: argparse.Namespace, others: list[str]) -> int:
    """Transform images, each at its own size; return 1 if any was left out."""
    workdir = _existing(flags)
    if flags.input is None or flags.output is None:
        raise UserError(
            "--mode=transform needs --input=DIR (or one image) and --output=DIR (or, for one image,"
            " a file)"
        )
    fields, rest = split_overrides(others, "--config.")
    options, rest = split_overrides(rest, "--")
    _refuse(flags.mode, [*(f"--config.{name}" for name in fields), *rest])
    from gan_jax.library.photo_files import transform as run_transform

    with counting("transformed") as report:
        done = run_transform(
            workdir,
            flags.input,
            flags.output,
            name=flags.name,
            labels=_labels(flags, workdir),
            mask=flags.mask,
            size=_size(flags.size),
            tile=flags.tile,
            bits=flags.bits,
            compare=flags.compare,
            target=flags.target,
            seed=flags.seed,
            checkpoint=flags.checkpoint,
            overwrite=flags.overwrite,
            options=options,
            report=report,
        )
    return _tell(done, f"wrote {len(done.files)} images to {flags.output}")


def predict(flags: argparse.Namespace, others: list[str]) -> int:
    """Write a table of what a classifier or regressor predicts; return 1 if any was left out."""
    workdir = _existing(flags)
    if flags.input is None:
        raise UserError("--mode=predict needs --input=DIR (or one image)")
    _refuse(flags.mode, others)
    from gan_jax.library.photo_files import predict as run_predict

    output = flags.output or workdir / "predictions.csv"
    given = dict(checkpoint=flags.checkpoint, overwrite=flags.overwrite)
    with counting("predicted") as report:
        done = run_predict(workdir, flags.input, output, report=report, **given)
    return _tell(done, f"wrote the table {output}")


def _tell(done: Done, wrote: str) -> int:
    """Print what was written and left out; return the exit code."""
    print(wrote)
    for note in done.notes:
        print(f"note: {note}")
    for error in done.bad.values():
        print(f"left out: {error}", file=sys.stderr)
    return 1 if done.bad else 0


def _size(text: str) -> tuple[int, int] | None:
    """Return the (height, width) of --size."""
    if not text:
        return None
    sides = text.split(",")
    if len(sides) != 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise UserError(f"--size={text}: height and width in pixels, such as --size=480,640")
    return int(sides[0]), int(sides[1])


def _labels(flags: argparse.Namespace, workdir: Path) -> list[int] | None:
    """Return the labels of the classes in --labels."""
    if flags.labels is None:
        return None
    spec = read_spec(workdir)
    return [spec.label(part) for part in flags.labels.split(",")]


def fit(flags: argparse.Namespace, others: list[str]) -> None:
    """Fit what the run's task defines (`Task.fits`) to its training images; store it in the run."""
    workdir = _existing(flags)
    data, rest = _data_fields(flags.mode, others)
    _refuse(flags.mode, rest)
    from gan_jax.library.fitted import select_fits
    from gan_jax.library.run import load

    run = load(workdir, checkpoint=flags.checkpoint, data=data, change=flags.change)
    run.fit(flags.name, seed=flags.seed)
    for name, one in select_fits(run.task, flags.name).items():
        print(f"fitted {name} of checkpoint {run.step}: {one.help}")
    print(f"written to {workdir / 'fitted'}")


def check_flags(flags: argparse.Namespace, defaults: Mapping[str, object]) -> None:
    """Raise UserError for a flag that the mode would ignore."""
    check_seed("--seed", flags.seed)
    for name, value in vars(flags).items():
        if value != defaults[name] and name not in ("mode", "config", *USES[flags.mode]):
            _refuse(flags.mode, [f"--{name}"])


def _refuse(mode: str, arguments: Sequence[str]) -> None:
    """Raise UserError for the first of these arguments, which the mode does not accept."""
    if not arguments:
        return
    name = arguments[0].split("=")[0]
    known = [f"--{flag}" for flag in USES[mode]]
    takes = "" if name in known else did_you_mean(name, known)
    raise UserError(f"--mode={mode} takes no {name}{takes} (it takes {', '.join(known)})")


def _data_fields(mode: str, others: list[str]) -> tuple[dict[str, str], list[str]]:
    """Separate overrides of a run's data paths (`DATA_FIELDS`) from the other arguments."""
    overrides, rest = split_overrides(others, "--config.")
    for name in overrides:
        if name not in DATA_FIELDS:
            able = ", ".join(f"--config.{field}" for field in DATA_FIELDS)
            raise UserError(
                f"--mode={mode} takes no --config.{name}: the config is that of the run, but for"
                f" its data: {able}"
            )
    return overrides, rest


def _existing(flags: argparse.Namespace) -> Path:
    if flags.workdir is None:
        raise UserError(f"--mode={flags.mode} needs --workdir=RUN, such as runs/quickstart")
    if flags.config:
        raise UserError(f"--mode={flags.mode} takes the config of the run: leave --config out")
    read_config(flags.workdir)
    return flags.workdir


# The flags of each mode, in addition to config fields and task options.
USES = {
    "train": ("config", "workdir", "change", "trust_code", "coordinator", "processes", "process"),
    "inspect": ("config", "workdir", "trust_code"),
    "plan": ("config", "workdir", "topology", "trust_code"),
    "eval": (
        *("workdir", "checkpoint", "split", "metrics", "features", "resize", "vgg", "heads"),
        *("images", "name", "real", "fake", "num", "seed", "change", "trust_code"),
        *("coordinator", "processes", "process"),
    ),
    "fit": ("workdir", "checkpoint", "name", "seed", "change", "trust_code"),
    "report": ("workdir", "metrics", "output"),
    "sample": (
        *("workdir", "checkpoint", "output", "overwrite", "num", "labels", "seed"),
        *("interpolate", "steps", "change", "trust_code"),
    ),
    "transform": (
        *("workdir", "checkpoint", "name", "labels", "input", "output", "overwrite", "seed"),
        *("size", "tile", "bits", "mask", "compare", "target", "trust_code"),
    ),
    "predict": ("workdir", "checkpoint", "input", "output", "overwrite", "trust_code"),
}
# Each returns its exit code, None for 0.
MODES: dict[str, Callable[[argparse.Namespace, list[str]], int | None]] = {
    "train": train,
    "inspect": inspect,
    "plan": plan,
    "eval": evaluate,
    "fit": fit,
    "report": report,
    "sample": sample,
    "transform": transform,
    "predict": predict,
}
