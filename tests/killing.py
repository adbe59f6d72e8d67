"""Trainings that are killed by SIGKILL, at an instant that is always the same or at a random one.

Run as a program, in a process that has not touched a device: each training is forked off it, which
saves the import. Every attempt is a line on standard output: "killed" or "ended".
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path


def kill_at(instant: int, workdir: Path) -> None:
    """Kill this process just before it changes a file of `workdir` for the so-many-th time."""
    left = [instant]

    def audit(event: str, arguments: tuple) -> None:
        changes = event in ("os.mkdir", "os.rename") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        )
        if not changes or not str(arguments[0]).startswith(str(workdir)):
            return
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def train(arguments: list[str], *, instant: int | None = None, seconds: float = 0.0) -> bool:
    """Train in a forked process, killed at an instant or after so many seconds, else to its end.

    Returns:
      Whether it was killed.
    """
    import main

    process = os.fork()
    if not process:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        if instant is not None:
            kill_at(instant, Path(arguments[-1].removeprefix("--workdir=")))
        os._exit(main.main(arguments))
    if seconds:
        timer = threading.Timer(seconds, os.kill, (process, signal.SIGKILL))
        timer.start()
    _, status = os.waitpid(process, 0)
    if seconds:
        timer.cancel()
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and os.waitstatus_to_exitcode(status):
        raise SystemExit(f"the training ended with {os.waitstatus_to_exitcode(status)}")
    print("killed" if killed else "ended", flush=True)
    return killed


def at_instants(workdir: Path, arguments: list[str], instants: list[int]) -> None:
    """Kill a run at each of these instants, one start after the other, then let it end."""
    for instant in instants:
        train([*arguments, f"--workdir={workdir}"], instant=instant)
    train([*arguments, f"--workdir={workdir}"])


def at_random(folder: Path, arguments: list[str], kills: int) -> None:
    """Train `folder`/unbroken, then runs 0, 1, ..., each to its end, until so many were killed."""
    draw = random.Random(0)
    began = time.perf_counter()
    train([*arguments, f"--workdir={folder / 'unbroken'}"])
    longest = time.perf_counter() - began
    run = 0
    while kills > 0:
        command = [*arguments, f"--workdir={folder / str(run)}"]
        while train(command, seconds=draw.uniform(0.1, longest) if kills > 0 else 0.0):
            kills -= 1
        run += 1


def main_program() -> None:
    """Parse the arguments: instants 0,3,7 or random KILLS, the folder, and those of main.py."""
    import gan_jax.experiment.train  # noqa: F401  # once, for all that are forked off

    how, value, folder, *arguments = sys.argv[1:]
    if how == "instants":
        at_instants(Path(folder), arguments, [int(x) for x in value.split(",")])
    else:
        at_random(Path(folder), arguments, int(value))


if __name__ == "__main__":
    main_program()
