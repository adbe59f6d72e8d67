"""EfficientNet-Lite0 as an extractor; its weights are available without a model hub."""

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

    Deviation: published accuracies use the central 87.5 % of an image, resized to 224 px; here, as
    for every image metric, the whole image is used.

    Args:
      name: "efficientnet_lite0".
      weights: weights file; None for the published one, from the extra `features`.
      how: how images are resized, see `gan_jax.features.resize`.
      download: ignored, since the published file is installed with the package.

    Returns:
      The extractor "NAME/HOW", or "NAME@DIGITS/HOW" with the first digits of the file's SHA-256 if
      it is not the published file.
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
