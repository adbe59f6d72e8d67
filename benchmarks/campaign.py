"""Train and evaluate the rows of the model zoo that are not yet measured.

    python benchmarks/campaign.py --root=DIR --set=PHOTOS=../shared/data/photos --dry-run
    python benchmarks/campaign.py --root=DIR --only=edsr,dncnn --minutes=120

A row of configs/results/NAME.json with a `plan` (`configs/results_common.py`) is run seed by seed:
its `command` trains in DIR, outside of the checkout, its `evaluated` measures, and the result file
gets the numbers of the seed as soon as they exist. After its last seed the row loses its plan. Rows
of the highest `worth` come first. Words of the two commands are replaced:

  RUN: the run's directory. RUN:NAME:ARGUMENT: the directory of the run of that config with the same
    seed, which must be trained before.
  NAME of --set=NAME=VALUE: such as a folder of images.

What is interrupted goes on where it was with the next call: trainings resume, and nothing is done
twice. A row that fails is named with its log, the others are done, and the exit code is 1. At the
end configs/README.md is written anew.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs.results_common import RESULTS, Row, read_rows, write_rows  # noqa: E402
from gan_jax.core.metric_names import MetricName  # noqa: E402

EARLIER = r"\bRUN:(\w+):(\S*)"
STATE = "campaign.json"  # in a run's directory: minutes of training so far, and whether it is done


class Failed(Exception):
    """A row could not be measured; the message says why."""


class Job(NamedTuple):
    """One seed of a row.

    Attributes:
      name: of the config.
      argument, what: of the row, which they identify in its file.
      seed: of the training.
      row: the row, as it was when the campaign began.
    """

    name: str
    argument: str
    what: str
    seed: int
    row: Row

    def __str__(self) -> str:
        return f"{self.name}:{self.argument} seed {self.seed}"


def jobs_in(results: Path, only: Sequence[str] = ()) -> list[Job]:
    """Return what is to be measured, in the order of its worth.

    Args:
      results: the folder of result files.
      only: names of configs; () for all.
    """
    found = []
    for path in sorted(results.glob("*.json")):
        for row in read_rows(path) if not only or path.stem in only else ():
            done = row["seeds"] or ()
            for seed in row.get("plan", {"seeds": ()})["seeds"]:
                if seed not in done:
                    found.append(Job(path.stem, row["argument"], row["what"], seed, row))
    return sorted(found, key=lambda job: -job.row["plan"]["worth"])


def workdir_of(root: Path, name: str, argument: str, seed: int) -> Path:
    """Return the directory of a run."""
    return root / name / re.sub(r"[^\w.=,-]+", "_", argument or "default") / str(seed)


def read_state(workdir: Path) -> dict[str, float | bool]:
    """Return {"minutes": of training so far, "trained": whether it is done}."""
    path = workdir / STATE
    return json.loads(path.read_text()) if path.is_file() else {"minutes": 0.0, "trained": False}


def earlier_run(command: str) -> tuple[str, str] | None:
    """Return (config, argument) of the run that a command starts from, if it does."""
    found = re.search(EARLIER, command)
    return (found[1], found[2]) if found else None


def commands_of(text: str, root: Path, job: Job, given: Mapping[str, str]) -> list[list[str]]:
    """Return the commands of a text, separated by "&&", with its words replaced.

    Args:
      text: `command` or `evaluated` of a row.
      root: of all runs.
      job: whose runs are meant.
      given: further words, such as {"PHOTOS": folder}.
    """
    words = {"RUN": str(workdir_of(root, job.name, job.argument, job.seed)), **given}

    def value(found: re.Match[str]) -> str:
        earlier = earlier_run(found[0])
        return str(workdir_of(root, *earlier, job.seed)) if earlier else words[found[0]]

    form = rf"{EARLIER}|\b(?:{'|'.join(map(re.escape, words))})\b"
    commands = [shlex.split(re.sub(form, value, command)) for command in text.split("&&")]
    for command in commands:
        if command[:1] != ["python"]:
            raise Failed(f"{shlex.join(command)}: only `python ...` can be run")
    return [[sys.executable, *command[1:]] for command in commands]


def call(command: list[str], log: Path) -> None:
    """Run a command in the checkout, its output appended to a log; end it if we are ended."""
    log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with log.open("a") as file:
        print(shlex.join(command), file=file, flush=True)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who then ask it once to save and end
        )
        try:
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if code:
        last = log.read_text(errors="replace").strip().splitlines()[-1]
        raise Failed(f"exit code {code}: {last} (log: {log})")


def train(job: Job, root: Path, given: Mapping[str, str]) -> None:
    """Train a run to its end, from where it is."""
    workdir = workdir_of(root, job.name, job.argument, job.seed)
    state = read_state(workdir)
    if state["trained"]:
        return
    if earlier := earlier_run(job.row["command"]):
        there = workdir_of(root, *earlier, job.seed)
        if not read_state(there)["trained"]:
            raise Failed(f"needs the run of {':'.join(earlier)} with seed {job.seed} in {there}")
    (command,) = commands_of(job.row["command"], root, job, given)
    command += [f"--workdir={workdir}"]
    if (workdir / "config.json").is_file():
        command = [*command[:2], f"--workdir={workdir}"]
    else:
        command += [f"--config.seed={job.seed}"]
    began, trained = time.monotonic(), False
    try:
        call(command, workdir.with_suffix(".log"))
        trained = True
    finally:
        minutes = state["minutes"] + (time.monotonic() - began) / 60
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / STATE).write_text(json.dumps({"minutes": minutes, "trained": trained}))


def evaluate(job: Job, root: Path, given: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics of a trained run, baselines and other parts left out."""
    workdir = workdir_of(root, job.name, job.argument, job.seed)
    for command in commands_of(job.row["evaluated"], root, job, given):
        call(command, workdir.with_suffix(".log"))
    steps = job.row["steps"]
    path = workdir / "eval" / f"{steps}.json"
    if not path.is_file():
        there = ", ".join(p.name for p in (workdir / "eval").glob("*")) or "nothing"
        raise Failed(f"no eval/{steps}.json after the evaluation, but {there}: {workdir}")
    found = json.loads(path.read_text())
    return {name: value for name, value in found.items() if not MetricName.parse(name).part}


def add_seed(path: Path, job: Job, metrics: Mapping[str, float], minutes: float, on: str) -> None:
    """Add the result of one seed to a result file.

    Args:
      path: of the file; rows may have been added to it since the campaign began.
      job: what was measured.
      metrics: by name.
      minutes: of training.
      on: the machine.
    """
    rows = read_rows(path)
    same = [row for row in rows if (row["argument"], row["what"]) == (job.argument, job.what)]
    if len(same) != 1 or "plan" not in same[0]:
        raise Failed(f"{path} has no planned row {job.argument!r}, {job.what!r} any more")
    (row,) = same
    if row["metrics"] and set(row["metrics"]) != set(metrics):
        differ = ", ".join(sorted(set(row["metrics"]) ^ set(metrics)))
        raise Failed(f"seed {job.seed} has other metrics than those before: {differ}")
    row["seeds"] = [*(row["seeds"] or ()), job.seed]
    row["minutes"] = [*(row["minutes"] or ()), round(minutes, 1)]
    for name, value in metrics.items():
        row["metrics"].setdefault(name, []).append(round(value, 6))
    row["machine"] = on
    row["date"] = datetime.date.today().isoformat()
    row["versions"] = f"jax {importlib.metadata.version('jax')}"
    if set(row["plan"]["seeds"]) <= set(row["seeds"]):
        del row["plan"]
    write_rows(path, rows)


def machine() -> str:
    """Return the processor of this machine, for people."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    return f"{os.cpu_count()} cores of {found[1].strip() if found else 'a CPU'}"


def run(
    jobs: Sequence[Job],
    *,
    root: Path,
    results: Path,
    given: Mapping[str, str],
    minutes: float,
    on: str,
) -> Iterator[tuple[Job, str]]:
    """Measure jobs one after another; yield each with an error, "" for none.

    Args:
      jobs: in their order.
      root: of all runs.
      results: the folder of result files.
      given: as for `commands_of`.
      minutes: stop before a job that would probably take longer than what is left of them.
      on: the machine.
    """
    end = time.monotonic() + 60 * minutes
    for job in jobs:
        workdir = workdir_of(root, job.name, job.argument, job.seed)
        if time.monotonic() + 60 * left_of(job, root) > end:
            return
        try:
            train(job, root, given)
            metrics = evaluate(job, root, given)
            add_seed(results / f"{job.name}.json", job, metrics, read_state(workdir)["minutes"], on)
        except Failed as error:
            yield job, str(error)
        else:
            yield job, ""


def left_of(job: Job, root: Path) -> float:
    """Return the minutes that a job probably still takes."""
    state = read_state(workdir_of(root, job.name, job.argument, job.seed))
    return 0.0 if state["trained"] else max(job.row["plan"]["minutes"] - state["minutes"], 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the campaign; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", default="", help="configs, separated by commas; all by default")
    parser.add_argument("--set", default=[], action="append", help="WORD=VALUE in commands")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="that may be used")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be done")
    parser.add_argument("--machine", default=machine(), help="as in the table")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of result files")
    flags = parser.parse_args(argv)
    root = flags.root.resolve()
    if root.is_relative_to(ROOT):
        parser.error(f"--root={flags.root}: runs belong outside of the checkout, {ROOT}")
    if bad := [pair for pair in flags.set if not re.fullmatch(r"\w+=.+", pair)]:
        parser.error(f"--set={bad[0]}: must be WORD=VALUE, such as PHOTOS=DIR")
    given = dict(pair.split("=", 1) for pair in flags.set)
    # Commands are run in the checkout, wherever the campaign is called.
    given = {k: str(Path(v).resolve()) if Path(v).exists() else v for k, v in given.items()}
    only = [name for name in flags.only.split(",") if name]
    there = {path.stem for path in flags.results.glob("*.json")}
    if unknown := sorted(set(only) - there):
        parser.error(f"--only={','.join(unknown)}: of {', '.join(sorted(there))}")
    jobs = jobs_in(flags.results, only)
    if flags.dry_run:
        for job in jobs:
            (command,) = commands_of(job.row["command"], root, job, given)
            minutes = f"{left_of(job, root):.0f} min"
            print(f"{job.row['plan']['worth']:>4} {minutes:>8}  {job}: {shlex.join(command[1:])}")
        print(f"{len(jobs)} trainings, {sum(left_of(job, root) for job in jobs):.0f} min")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # save and end, as for Ctrl-C
    given_run = dict(root=root, results=flags.results, given=given, on=flags.machine)
    failed = done = 0
    try:
        for job, error in run(jobs, minutes=flags.minutes, **given_run):
            failed, done = failed + bool(error), done + (not error)
            print(f"{time.strftime('%H:%M:%S')} {job}: {error or 'done'}", flush=True)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    finally:
        if done and flags.results == RESULTS:
            call([sys.executable, "-m", "configs.zoo_common"], root / "zoo.log")
    print(f"{done} done, {failed} failed, {len(jobs) - done - failed} left")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
