"""The two published sets of Inception-v3 weights, and their extractors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError, check_choice
from gan_jax.features.extractor import Extractor, Features, checked
from gan_jax.features.inception import BLOCKS, POOLED, InceptionV3, entry
from gan_jax.features.published import Published
from gan_jax.features.resize import RESIZES, resize, to_channels
from gan_jax.features.weights import fill, mark, read_weights

SIZE = 299  # input size [px]
_EPSILON = 1e-3  # of the batch normalisation


@dataclasses.dataclass(frozen=True)
class Variant:
    """One set of weights and its preprocessing.

    Attributes:
      network: the architecture.
      zero: inputs are (pixel - zero) / zero: the grey level mapped to 0, and half of the range
        mapped to [-1, 1].
      published: the published file.
    """

    network: InceptionV3
    zero: float
    published: Published


VARIANTS: dict[str, Variant] = {
    # The graph of 2015: average pools exclude padding, the last block has a max pool, and there are
    # 1008 logits, which include the 1000 classes. The Inception Score is computed without the bias
    # of the logits (arXiv:1606.03498's code, torch-fidelity's "logits_unbiased"), so it is omitted.
    "inception_v3_tf": Variant(
        InceptionV3(1008, logit_bias=False, pool="average", last_pool="max"),
        128.0,
        Published(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
            "pt_inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ),
    ),
    # Only the digits of the SHA-256 in the file name are known, which PyTorch's hub checks too.
    "inception_v3_torchvision": Variant(
        InceptionV3(
            1000, logit_bias=True, pool="average_with_zeros", last_pool="average_with_zeros"
        ),
        127.5,
        Published(
            "https://download.pytorch.org/models/", "inception_v3_google-0cc3c7bd.pth", "0cc3c7bd"
        ),
    ),
}


def make_inception(name: str, weights: Path | None, how: str, *, download: bool) -> Extractor:
    """Return Inception-v3 as an extractor.

    Args:
      name: key of `VARIANTS`.
      weights: weights file; None for the published one at its usual place.
      how: how images are resized, see `gan_jax.features.resize`.
      download: whether the published file may be downloaded.

    Returns:
      The extractor "NAME/HOW", or "NAME@DIGITS/HOW" with the first digits of the file's SHA-256 if
      it is not the published file, since its values are not those of the published metric.
    """
    check_choice("resize", how, RESIZES)
    variant = VARIANTS[name]
    network, published = variant.network, variant.published
    if weights is None:
        weights = published.find(f"features={name}", download=download)
    variables = read_inception(network, weights)
    other = mark(weights, published.sha256)

    def apply(variables: Any, images: jax.Array) -> Features:
        pixels = resize(to_channels(images, 3), (SIZE, SIZE), how)
        features, logits = network.apply(variables, (pixels - variant.zero) / variant.zero)
        return {"features": features, "logits": logits}

    return Extractor(f"{name}{other}/{how}", 2048, variables, checked(apply))


def read_inception(network: InceptionV3, path: Path) -> Any:
    """Return the variables of a network from a weights file with PyTorch's names.

    Raises:
      UserError: for an unreadable file, or weights of another network.
    """
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    template = jax.eval_shape(network.init, jax.random.key(0), images)
    return fill(template, folded(network, read_weights(path), path), path)


def folded(
    network: InceptionV3, stored: Mapping[str, np.ndarray], source: object
) -> dict[str, np.ndarray]:
    """Fold the batch normalisation of a PyTorch state dict into its convolutions.

    Args:
      network: the variant.
      stored: arrays by PyTorch's names ("Mixed_5b.branch1x1.bn.running_var").
      source: the file, for error messages.

    Returns:
      Arrays by the names that `gan_jax.features.weights.fill` expects.

    Raises:
      UserError: for a missing name.
    """

    def of(name: str) -> np.ndarray:
        if name not in stored:
            raise UserError(f"{source}: holds no {name!r}: these are weights of another network")
        return np.asarray(stored[name], np.float64)

    def unit(name: str) -> tuple[np.ndarray, np.ndarray]:
        mean, var, scale, bias = (
            of(f"{name}.bn.{x}") for x in ("running_mean", "running_var", "weight", "bias")
        )
        factor = scale / np.sqrt(var + _EPSILON)
        kernel = of(f"{name}.conv.weight") * factor[:, None, None, None]
        if kernel.shape[2:] == (1, 1):
            kernel = kernel[:, :, 0, 0]
        return kernel, bias - mean * factor

    found = {name: array for name, array in stored.items() if name.startswith("fc.")}
    try:
        for name in (key.removesuffix(".conv.weight") for key in stored if ".conv." in key):
            found[f"{name}.conv.weight"], found[f"{name}.conv.bias"] = unit(name)
        for block, contents in BLOCKS.items():
            heads = entry(contents, network.pool_of(block))
            kernels, biases = zip(*(unit(f"{block}.{head}") for head in heads), strict=True)
            if POOLED in heads:
                found[f"{block}.{POOLED}.bias"] = biases[-1]
                biases = (*biases[:-1], np.zeros_like(biases[-1]))
            found[f"{block}.entry.weight"] = np.concatenate(kernels)
            found[f"{block}.entry.bias"] = np.concatenate(biases)
    except (IndexError, ValueError) as error:
        raise UserError(f"{source}: shapes do not fit ({error}): another network's") from None
    return found
