"""The two published sets of weights of Inception-v3, and the extractors that they make."""

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

SIZE = 299  # of the images that it sees [px]
_EPSILON = 1e-3  # of the batch normalisation


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is special about one set of weights.

    Attributes:
      network: the architecture.
      zero: the grey level that the network sees as 0, and half of the range that it sees as
        [-1, 1].
      published: where the file is.
    """

    network: InceptionV3
    zero: float
    published: Published


VARIANTS: dict[str, Variant] = {
    # The graph of 2015: average pools leave pixels outside of the image out, the last block has a
    # max pool, and of 1008 logits the 1000 classes are a part. The Inception Score is computed
    # without the bias of the logits (arXiv:1606.03498's code, torch-fidelity's "logits_unbiased"),
    # so there is none.
    "inception_v3_tf": Variant(
        InceptionV3(1008, logit_bias=False, pool="average", last_pool="max"),
        128.0,
        Published(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
            "pt_inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ),
    ),
    # Its file name has these digits of the SHA-256, as PyTorch's hub checks them; more of them were
    # not at hand.
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
      name: of a variant.
      weights: a file of them; None for the published one, where it is kept.
      how: the resizing.
      download: whether the published file may be downloaded.

    Returns:
      The extractor "NAME/HOW", or "NAME@DIGITS/HOW" with the first digits of the file's SHA-256
      where it is not the published file: what it measures has no name in the field.
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
    """Return the variables of a network from a file of weights by PyTorch's names.

    Raises:
      UserError: for a file that cannot be read, and for weights of another network.
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
      source: the file, for the error.

    Returns:
      Arrays by the names that `gan_jax.features.weights.fill` looks for.

    Raises:
      UserError: for a name that is missing.
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
