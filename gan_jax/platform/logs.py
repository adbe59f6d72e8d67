"""What is logged to the terminal: warnings of ours, a line each, and not those of the libraries.

Orbax, TFDS and grain log through absl, and at level WARNING also what is as it should be, such as
"read_only=True, setting save_interval_steps=0" at every restore. What they log as errors they raise
too, and it is reported there: Orbax would add 80 lines of traceback to a full disk.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import absl.logging

PATIENCE = 2.0  # seconds before a wait is announced


def quiet_libraries() -> None:
    """Let the libraries log nothing but what ends the program."""
    absl.logging.set_verbosity(absl.logging.FATAL)


def set_up_logging() -> None:
    """Do the same, and print our warnings unless the program has log handlers of its own."""
    quiet_libraries()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Orbax's tasks after a failed save
    # Images of up to twice Pillow's limit are read, and larger ones are an error that says so.
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    sys.unraisablehook = _print_unraisable


@contextlib.contextmanager
def announce_if_slow(what: str, *, by_us: bool = True) -> Iterator[None]:
    """Print a message if the block takes longer than PATIENCE.

    Args:
      what: the message, such as "compiling the step ...".
      by_us: False prints nothing, for processes that write no output.
    """
    timer = threading.Timer(PATIENCE, lambda: print(what, flush=True))
    timer.daemon = True
    if by_us:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _print_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Print an exception in a thread of C++, but not what tensorstore meets after a failed save.

    It calls back, once an array, into the event loop that Orbax has closed by then.
    """
    trace = unraisable.exc_traceback
    if trace is not None and trace.tb_frame.f_code.co_name == "call_soon_threadsafe":
        return
    sys.__unraisablehook__(unraisable)
