"""gan_jax: image generation and image transformation with GANs, VAEs and CNNs, in JAX and Flax.

    run = gan_jax.load("runs/quickstart")
    images = run.sample(16, seed=0)

Importing this package imports nothing heavy and touches no device.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
# name: the module that has it, imported when it is asked for.
_LAZY = {
    "Progress": "gan_jax.library.progress",
    "Run": "gan_jax.library.run",
    "runs": "gan_jax.library.runs_table",
    "load": "gan_jax.library.run",
    "load_config": "gan_jax.methods.configs",
    "progress": "gan_jax.library.progress",
    "train": "gan_jax.experiment.train",
}
__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
