"""Compiled programs are kept between starts, so that a second start is quick.

JAX writes each compiled program to a folder and reads it at the next start. A program for the CPU
holds instructions of that very CPU, so every kind of machine has a folder of its own: a home that
several machines share would otherwise hand one the programs of another.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

DIR, MAX_SIZE = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"
MIN_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_LIMIT = 4 * 2**30  # bytes; the programs used longest ago are deleted beyond


def keep_compiled_programs() -> Path | None:
    """Set JAX's persistent cache through its environment; call before JAX is imported.

    Where JAX_COMPILATION_CACHE_DIR is set, by a user, it is left as it is; "" turns the cache off.

    Returns:
      The folder, $XDG_CACHE_HOME/gan_jax/MACHINE (default ~/.cache); None where nothing was set.
    """
    if DIR in os.environ:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "gan_jax" / f"compiled-{machine()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written: compile again
        return None
    if not os.access(folder, os.W_OK):
        return None
    os.environ[DIR] = str(folder)
    os.environ.setdefault(MAX_SIZE, str(_LIMIT))
    os.environ.setdefault(MIN_SECONDS, "0")  # small programs too: there are many at a start
    return folder


def machine() -> str:
    """Return a short name of this kind of CPU: its architecture and a digest of what it can do."""
    known = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    except OSError:  # not Linux
        pass
    return f"{platform.machine()}-{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}"
