"""UserError, the one exception whose message is written for the user, and helpers for messages."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Iterable

# Disk errors that the user can fix; any other OSError is a bug in gan_jax.
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
    """A mistake that the user can fix: one line with what, got, allowed, and the fix.

    `main.py` prints it without a traceback and exits with code 2. Every other exception is a bug in
    gan_jax and keeps its traceback.
    """


def silence_stderr() -> None:
    """Discard everything written to standard error from now until the process ends.

    Called after the error line is printed: from Python 3.13 on, a file object on a full disk that
    can't be flushed when it is deleted prints a traceback at exit.
    """
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def out_of_memory(error: BaseException) -> str:
    """Return the reason given by an out-of-memory error of a device or the host, "" for others."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and not isinstance(error, MemoryError):
        return ""
    return text.partition("RESOURCE_EXHAUSTED:")[2].strip().split("\n")[0][:200] or "of the host"


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest match in `allowed`, "" if none is close."""
    near = difflib.get_close_matches(str(name), [str(item) for item in allowed], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(what: str, got: object, allowed: Iterable[object]) -> None:
    """Raise UserError unless `got` is one of `allowed`.

    Args:
      what: name of the field, for the error message, such as "train.parallel".
      got: the value given.
      allowed: the legal values.
    """
    allowed = list(allowed)
    if got not in allowed:
        names = ", ".join(map(str, allowed))
        raise UserError(f"{what}={got!r} is not known: one of {names}{did_you_mean(got, allowed)}")
