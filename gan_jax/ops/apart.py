"""A part of a program that XLA computes by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(function: Callable[..., Any], *arrays: jax.Array, **static: Any) -> Any:
    """Call a function that XLA must not merge with what computes its arrays.

    What is cheap to compute again (BatchNorm, ReLU, a residual sum, a moment of Adam) XLA computes
    wherever it is read, however often or badly that is. CPU only: other platforms should be left to
    merge as they like.

    Args:
      function: best one of a module, not a new one each time: it is traced once.
      *arrays: its arguments, which are stored first.
      **static: keyword arguments that are not arrays.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(function, static_argnames=tuple(static))(*arrays, **static)
