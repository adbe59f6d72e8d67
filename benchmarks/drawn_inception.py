"""Reproducible random weights and images for Inception-v3, drawn with NumPy by name."""

from __future__ import annotations

import hashlib

import numpy as np

from gan_jax.features.inception import BLOCKS, POOLED, STEM, Unit


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 weights determined by name and shape, scaled like those of a trained net."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    rng = np.random.Generator(np.random.Philox(seed))
    if name.endswith((".running_var", ".bn.weight")):
        found = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        found = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        found = 0.2 * rng.standard_normal(shape)
    return found.astype(np.float32)


def shapes(classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays in the published files, by PyTorch's names."""
    found = {"fc.weight": (classes, 2048), "fc.bias": (classes,)}

    def add(prefix: str, unit: Unit, channels: int) -> int:
        found[f"{prefix}{unit.name}.conv.weight"] = (unit.features, channels, *unit.kernel)
        for name in ("weight", "bias", "running_mean", "running_var"):
            found[f"{prefix}{unit.name}.bn.{name}"] = (unit.features,)
        return unit.features

    channels = 3
    for unit in filter(None, STEM):
        channels = add("", unit, channels)
    for name, block in BLOCKS.items():
        width = block.pooled or channels
        for branch in block.branches:
            inner = channels
            for unit in branch:
                forked = [unit] if isinstance(unit, Unit) else unit
                inner = sum(add(f"{name}.", each, inner) for each in forked)
            width += inner
        if block.pooled:
            add(f"{name}.", Unit(POOLED, block.pooled), channels)
        channels = width
    return found


def weights(classes: int) -> dict[str, np.ndarray]:
    """Return all arrays of a weights file, by PyTorch's names."""
    return {name: draw(name, shape) for name, shape in shapes(classes).items()}


def images(batch: int, height: int, width: int) -> np.ndarray:
    """Return uint8 images [batch, height, width, 3]: noise of three scales."""
    rng = np.random.Generator(np.random.Philox(7))
    found = np.zeros((batch, height, width, 3))
    for scale in (1, 5, 25):
        coarse = rng.uniform(0, 85, (batch, -(-height // scale), -(-width // scale), 3))
        found += coarse.repeat(scale, 1).repeat(scale, 2)[:, :height, :width]
    return found.astype(np.uint8)


def scaled(batch: int, size: int) -> np.ndarray:
    """Return images as network inputs: float32 in [-1, 1]."""
    return images(batch, size, size).astype(np.float32) / 127.5 - 1
