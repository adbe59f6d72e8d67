"""A disk cache of decoded images: decoding MNIST's 60,000 PNG files takes longer than a first step.

The arrays are .npz files next to the compiled programs (`gan_jax.platform.compile_cache`). Their
checksums are verified on reading; damaged ones are decoded again.
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

LEAST_SECONDS = 1.0  # arrays that decode faster are not cached
LIMIT = 4 * 2**30  # bytes; above it the least recently used arrays are deleted


def folder() -> Path:
    """Return the cache folder: $XDG_CACHE_HOME/gan_jax/decoded (default ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "gan_jax" / "decoded"


def cached(identity: str, decode: Callable[[], Arrays]) -> Arrays:
    """Return the result of `decode`, from the cache if it is there.

    Args:
      identity: a digest of everything that the result depends on, including the state of its files.
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
        _write(path, arrays)
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    """Write arrays, and delete the oldest above the limit; disk errors are only logged."""
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
