"""Logging to the terminal: our own warnings, one line each, but not those of the libraries.

Orbax, TFDS and grain log through absl, and log normal behaviour at level WARNING, such as
"read_only=True, setting save_interval_steps=0" at every restore. The errors that they log they also
raise, and those are reported by us: for a full disk Orbax would add 80 lines of traceback.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import absl.logging

PATIENCE = 2.0  # seconds after which `print_if_slow` prints


def quiet_libraries() -> None:
    """Let libraries log fatal errors only."""
    absl.logging.set_verbosity(absl.logging.FATAL)


def set_up_logging() -> None:
    """Quiet the libraries, and print our warnings unless the program has its own log handlers."""
    quiet_libraries()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Orbax's tasks after a failed save
    # Images up to twice Pillow's limit are read; for larger ones we raise an error.
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    sys.unraisablehook = _print_unraisable


@contextlib.contextmanager
def print_if_slow(what: str, *, enabled: bool = True) -> Iterator[None]:
    """Print a message if the block takes longer than PATIENCE.

    Args:
      what: the message, such as "compiling the step ...".
      enabled: False prints nothing, for processes that print no messages.
    """
    timer = threading.Timer(PATIENCE, lambda: print(what, flush=True))
    timer.daemon = True
    if enabled:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _print_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Print an exception in a C++ thread, except those of tensorstore after a failed save.

    Tensorstore calls back, once per array, into the event loop that Orbax has already closed.
    """
    trace = unraisable.exc_traceback
    if trace is not None and trace.tb_frame.f_code.co_name == "call_soon_threadsafe":
        return
    sys.__unraisablehook__(unraisable)
