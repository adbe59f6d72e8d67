"""Decoded images are kept between starts: MNIST's 60,000 PNG files take longer than its first step.

The arrays lie beside the compiled programs (`gan_jax.platform.compile_cache`), as .npz files, whose
sums are checked as they are read; what is damaged is decoded again.
"""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan_jax.core.files import written_whole
from gan_jax.data.dataset import Arrays

logger = logging.getLogger(__name__)

LEAST_SECONDS = 1.0  # what is decoded faster is not kept
LIMIT = 4 * 2**30  # bytes; the arrays used longest ago are deleted beyond


def folder() -> Path:
    """Return where decoded arrays are kept: $XDG_CACHE_HOME/gan_jax/decoded (default ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "gan_jax" / "decoded"


def kept(identity: str, decode: Callable[[], Arrays]) -> Arrays:
    """Return what `decode` returns, from the disk if it was there before.

    Args:
      identity: a digest of all that the result depends on, the state of its files included.
      decode: () -> arrays by name.
    """
    path = folder() / f"{identity}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        os.utime(path)
        return arrays
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        logger.info("decoding again what %s should hold (%s)", path, error)
    began = time.perf_counter()
    arrays = decode()
    if time.perf_counter() - began >= LEAST_SECONDS:
        _keep(path, arrays)
    return arrays


def _keep(path: Path, arrays: Arrays) -> None:
    """Write arrays, and delete the oldest beyond the limit; a disk that cannot is left alone."""
    size = sum(array.nbytes for array in arrays.values())
    try:
        there = [(p.stat(), p) for p in path.parent.glob("*.npz")]
        for status, old in sorted(there, key=lambda entry: entry[0].st_mtime, reverse=True):
            size += status.st_size
            if size > LIMIT:
                old.unlink(missing_ok=True)
        if sum(array.nbytes for array in arrays.values()) <= LIMIT:
            with written_whole(path) as file:
                np.savez(file, **arrays)
    except OSError as error:
        logger.info("cannot keep decoded images in %s (%s)", path.parent, error)
