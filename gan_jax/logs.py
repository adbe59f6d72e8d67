"""What is logged to the terminal: warnings of ours, a line each, and not those of the libraries.

Orbax, TFDS and grain log through absl, and at level WARNING also what is as it should be, such as
"read_only=True, setting save_interval_steps=0" at every restore.
"""

from __future__ import annotations

import logging

import absl.logging


def quiet_libraries() -> None:
    """Let the libraries log errors only."""
    absl.logging.set_verbosity(absl.logging.ERROR)


def set_up_logging() -> None:
    """Do the same, and print our warnings unless the program has log handlers of its own."""
    quiet_libraries()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
