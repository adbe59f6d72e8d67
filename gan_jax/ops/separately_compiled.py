"""Keep XLA from fusing a function with the computation of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def separately_compiled(function: Callable[..., Any], *arrays: jax.Array, **static: Any) -> Any:
    """Call a function that XLA does not fuse with the computation of its array arguments.

    XLA recomputes cheap operations (BatchNorm, ReLU, a residual sum, a moment of Adam) wherever
    they are read, even if that is often or in a slow access pattern. For CPU only: other platforms
    should fuse as they like.

    Args:
      function: best a module-level function rather than a new one per call, as it is traced once.
      *arrays: its array arguments, which are materialised first.
      **static: keyword arguments that are not arrays.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(function, static_argnames=tuple(static))(*arrays, **static)
