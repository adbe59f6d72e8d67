"""gan_jax: image generation and image transformation with GANs, VAEs and CNNs, in JAX and Flax.

    run = gan_jax.load("runs/quickstart")
    images = run.sample(16, seed=0)

Importing this package imports nothing heavy and touches no device.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from gan_jax.run import load

        return load
    raise AttributeError(f"module 'gan_jax' has no attribute {name!r}")
