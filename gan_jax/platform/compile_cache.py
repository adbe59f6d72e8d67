"""Persistent compilation cache, so that a second start is quick.

JAX writes each compiled program to a folder and reads it at the next start. A program for the CPU
uses instructions of that particular CPU, so each type of machine has its own folder: otherwise
machines with a shared home directory would load each other's programs.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

DIR, MAX_SIZE = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"
MIN_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_LIMIT = 4 * 2**30  # bytes; above it the least recently used programs are deleted


def keep_compiled_programs() -> Path | None:
    """Set JAX's persistent cache through its environment; call before JAX is imported.

    A JAX_COMPILATION_CACHE_DIR set by the user is respected; "" turns the cache off.

    Returns:
      The folder, $XDG_CACHE_HOME/gan_jax/compiled-MACHINE (default ~/.cache); None if nothing was
      set.
    """
    if DIR in os.environ:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "gan_jax" / f"compiled-{machine()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # the home directory is not writable: compile at every start
        return None
    if not os.access(folder, os.W_OK):
        return None
    os.environ[DIR] = str(folder)
    os.environ.setdefault(MAX_SIZE, str(_LIMIT))
    os.environ.setdefault(MIN_SECONDS, "0")  # small programs too: there are many at a start
    return folder


def machine() -> str:
    """Return a short name of this type of CPU: its architecture and a digest of its features."""
    known = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    except OSError:  # not Linux
        pass
    return f"{platform.machine()}-{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}"
