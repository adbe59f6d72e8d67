"""Images and drawn weights with which EfficientNet-Lite0 and LPIPS are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data

GOLDEN = Path(__file__).parent / "features" / "perceptual_golden.npz"
PHOTOGRAPHS = ("chelsea", "coffee", "rocket")
SIZES = ((45, 37), (16, 24))  # of the pairs that LPIPS compares [px]
CHANNELS = (64, 128, 256, 512, 512)


def square(name: str) -> np.ndarray:
    """Return the largest square in the middle of a photograph, uint8 [H, H, 3]."""
    image = getattr(skimage.data, name)()
    size = min(image.shape[:2])
    top, left = ((n - size) // 2 for n in image.shape[:2])
    return image[top : top + size, left : left + size]


def crops() -> np.ndarray:
    """Return the middles of the photographs as they are stored, uint8 [3, 224, 224, 3]."""
    images = [square(name) for name in PHOTOGRAPHS]
    starts = [(len(image) - 224) // 2 for image in images]
    return np.stack([x[i : i + 224, i : i + 224] for x, i in zip(images, starts, strict=True)])


def vgg_weights(counts: tuple[int, ...] = (2, 2, 3, 3, 3)) -> dict[str, np.ndarray]:
    """Return drawn weights of a VGG by torchvision's names; activations keep their size.

    Args:
      counts: convolutions of the five blocks, by default those of VGG-16.
    """
    rng = np.random.default_rng(0)
    weights, inputs, index = {}, 3, 0
    for outputs, count in zip(CHANNELS, counts, strict=True):
        for _ in range(count):
            kernel = rng.standard_normal((outputs, inputs, 3, 3), np.float32)
            weights[f"features.{index}.weight"] = kernel * np.float32((2 / (9 * inputs)) ** 0.5)
            weights[f"features.{index}.bias"] = rng.standard_normal(outputs, np.float32) / 10
            inputs, index = outputs, index + 2  # one for the ReLU
        index += 1  # the pooling
    return weights


def heads() -> dict[str, np.ndarray]:
    """Return drawn heads by the names of the package lpips, not negative as its own."""
    rng = np.random.default_rng(1)
    shapes = [(1, channels, 1, 1) for channels in CHANNELS]
    return {f"lin{i}.model.1.weight": rng.random(s, np.float32) for i, s in enumerate(shapes)}


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (prediction, target) of each size, [2, H, W, 3] in [-1, 1]: near and far ones."""
    rng = np.random.default_rng(2)
    found = []
    for height, width in SIZES:
        target = crops()[:2, :height, 60 : 60 + width].astype(np.float32) / 127.5 - 1
        noise = rng.standard_normal(target.shape, np.float32)
        noise *= np.reshape(np.float32([0.02, 0.5]), (2, 1, 1, 1))
        found.append((np.clip(target + noise, -1, 1), target))
    return found
