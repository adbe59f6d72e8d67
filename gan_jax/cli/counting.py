"""How far a command over many files is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES = 10  # at most, where there is no terminal
FEW = 20  # files for which there is no line


@contextlib.contextmanager
def counting(done: str) -> Iterator[Callable[[float, int], None]]:
    """Yield a function (files done, which may be a fraction; files in all) that shows both.

    Args:
      done: what is done with a file, such as "transformed".
    """
    if not sys.stderr.isatty():
        told = 0

        def tell(files: float, total: int) -> None:
            nonlocal told
            share = int(files * LINES // total)
            if share > told and total >= FEW and files == int(files):
                told = share
                print(f"{done} {int(files):,} of {total:,}", flush=True)

        yield tell
        return
    columns = (TextColumn(done), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, markup=False), transient=True) as progress:
        task = progress.add_task(done, total=None)
        yield lambda files, total: progress.update(task, completed=files, total=total)
