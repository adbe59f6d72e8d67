"""The one exception whose text is written for the person at the keyboard."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Iterable

# What the owner of a disk can mend; any other OSError is a defect of gan_jax.
DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
)


class UserError(ValueError):
    """A mistake that the user can mend: one line saying what, got, allowed, and the fix.

    `main.py` prints it without a traceback and exits with code 2. Every other exception is a defect
    of gan_jax and keeps its traceback.
    """


def say_no_more() -> None:
    """Let nothing be printed to standard error from here to the end of the process.

    For after the one line: a file on a full disk that can't be flushed when it is deleted prints a
    traceback as the process ends (from Python 3.13 on).
    """
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def out_of_memory(error: BaseException) -> str:
    """Return what an error says of memory that was not there, of a device or the host; else ""."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and not isinstance(error, MemoryError):
        return ""
    return text.partition("RESOURCE_EXHAUSTED:")[2].strip().split("\n")[0][:200] or "of the host"


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest of `allowed`, or "" where none is near."""
    near = difflib.get_close_matches(str(name), [str(item) for item in allowed], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(what: str, got: object, allowed: Iterable[object]) -> None:
    """Raise UserError unless `got` is one of `allowed`.

    Args:
      what: the field as its user knows it, such as "train.parallel".
      got: the value given.
      allowed: the values that are legal.
    """
    allowed = list(allowed)
    if got not in allowed:
        names = ", ".join(map(str, allowed))
        raise UserError(f"{what}={got!r} is not known: one of {names}{did_you_mean(got, allowed)}")
