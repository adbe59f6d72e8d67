"""EfficientNet-Lite0 as a feature network: the one whose weights come without a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jax import Array

from gan_jax.core.errors import check_choice
from gan_jax.features.efficientnet import SHA256, SIZE, EfficientNetLite0, read_efficientnet
from gan_jax.features.extractor import Extractor, Features, checked
from gan_jax.features.resize import RESIZES, resize, to_channels
from gan_jax.features.weights import mark


def make_efficientnet(name: str, weights: Path | None, how: str, *, download: bool) -> Extractor:
    """Return EfficientNet-Lite0 as an extractor of 1280 features, with ImageNet's 1000 logits.

    Deviation: published accuracies crop the middle 87.5% of an image before the bicubic resizing to
    224 px; here, as for every metric of images, all of it counts.

    Args:
      name: "efficientnet_lite0".
      weights: a file of them; None for the published one, from the extra `features`.
      how: the resizing.
      download: without effect, for the published file is installed.

    Returns:
      The extractor "NAME/HOW", or "NAME@DIGITS/HOW" with the first digits of the file's SHA-256
      where it is not the published file.
    """
    check_choice("resize", how, RESIZES)
    variables = read_efficientnet(weights)
    network = EfficientNetLite0()

    def apply(variables: Any, images: Array) -> Features:
        pixels = resize(to_channels(images, 3), (SIZE, SIZE), how)
        found = network.apply(variables, pixels * (2 / 255) - 1)
        return {"features": found["features"], "logits": found["logits"]}

    other = "" if weights is None else mark(weights, SHA256)
    return Extractor(f"{name}{other}/{how}", 1280, variables, checked(apply))
