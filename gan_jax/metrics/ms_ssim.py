"""Multi-scale structural similarity, and diversity measured with it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.metrics.image_quality import WINDOW, ssim_maps

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@dataclasses.dataclass(frozen=True)
class DiversityResult:
    """Mean MS-SSIM of pairs; low if images differ. `scales` must be part of the metric name."""

    value: float
    scales: int
    by_class: dict[int, float]


def scales_of(height: int, width: int) -> int:
    """Return the number of scales at which MS-SSIM's window fits, at most 5.

    11 to 21 px: 1; to 43 px: 2; to 87 px: 3; to 175 px: 4; from 176 px the paper's 5.

    Raises:
      UserError: for images below 11 px.
    """
    if min(height, width) < WINDOW:
        raise UserError(
            f"ms_ssim: images of {height}x{width} px, at least {WINDOW}x{WINDOW} needed for its"
            " window: use larger images"
        )
    return min(len(_WEIGHTS), (min(height, width) // WINDOW).bit_length())


def ms_ssim(*, prediction: jax.Array, target: jax.Array, scales: int | None = None) -> jax.Array:
    """Return the multi-scale structural similarity of each image (Wang, Simoncelli & Bovik 2003).

    doi:10.1109/ACSSC.2003.1292216, eq. 7: the product over scales of contrast times structure, with
    luminance at the last scale, each raised to its weight; images are halved by 2x2 means. Equal to
    1e-5 to pytorch-msssim on grey images whose sizes halve evenly, and to torchmetrics' SSIM
    computed at each scale; torchmetrics' MS-SSIM differs, since it pads the image by mirroring at
    the last scale. Deviations: factors are averaged over channels before they are raised (as in
    torchmetrics; the paper has grey images). Images too small for five scales use the first
    weights, divided by their sum; values with different `scales` are not comparable.

    Args:
      prediction: [B, H, W, C] in [-1, 1].
      target: the same shape.
      scales: 1 to 5; None for `scales_of` the image size.

    Returns:
      [B] in [0, 1], 1 for equal images; negative factors are clipped to 0.

    Raises:
      UserError: for images too small for the scales.
      ValueError: for different shapes.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must agree")
    most = scales_of(*prediction.shape[1:3])
    scales = most if scales is None else scales
    if not 1 <= scales <= most:
        height, width = prediction.shape[1:3]
        raise UserError(f"ms_ssim: scales={scales} of images of {height}x{width} px: 1 to {most}")
    weights = np.asarray(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    x, y = prediction.astype(jnp.float32), target.astype(jnp.float32)
    product = jnp.ones(len(x))
    for scale, weight in enumerate(weights):
        luminance, contrast = ssim_maps(x, y)
        factor = luminance * contrast if scale == scales - 1 else contrast
        product *= jnp.maximum(factor.mean((1, 2, 3)), 0) ** weight
        x, y = _halved(x), _halved(y)
    return product


def diversity(
    images: np.ndarray, labels: np.ndarray | None = None, *, pairs: int = 100, seed: int = 0
) -> DiversityResult:
    """Return the mean MS-SSIM of random pairs of images within a class (Odena et al. 2017).

    arXiv:1610.09585, section 4.2: 100 pairs per class. A class has lost diversity if its generated
    images score higher than its real ones; compare at the same number of scales.

    Args:
      images: [N, H, W, C] uint8.
      labels: [N] class numbers; None puts all images in class 0.
      pairs: number of pairs per class, drawn with replacement from all pairs of different images.
      seed: seed of the pairs.

    Returns:
      The mean over classes, in [0, 1], and the value of each class.

    Raises:
      UserError: for a class of fewer than two images, or images below 11 px.
      ValueError: for images that are not uint8, or a different number of labels.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}, not uint8: rounding is part of the protocol")
    labels = np.zeros(len(images), int) if labels is None else np.asarray(labels)
    if labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images with labels {labels.shape}")
    if pairs < 1 or not len(images):
        raise UserError(f"ms_ssim: {pairs} pairs of {len(images)} images: at least 1 pair of 2")
    scales = scales_of(*images.shape[1:3])
    draw = np.random.RandomState(seed)  # same stream in all versions of NumPy
    by_class = {}
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(
                f"ms_ssim: 1 image of class {label}, at least 2 needed of every class: use more"
                " samples"
            )
        first = draw.randint(len(members), size=pairs)
        second = (first + draw.randint(1, len(members), size=pairs)) % len(members)
        values = _of_pairs(images[members[first]], images[members[second]], scales)
        by_class[label] = float(np.asarray(values, np.float64).mean())
    return DiversityResult(float(np.mean(list(by_class.values()))), scales, by_class)


@functools.partial(jax.jit, static_argnames="scales")
def _of_pairs(a: jax.Array, b: jax.Array, scales: int) -> jax.Array:
    x, y = (pixels.astype(jnp.float32) / 127.5 - 1 for pixels in (a, b))
    return ms_ssim(prediction=x, target=y, scales=scales)


def _halved(images: jax.Array) -> jax.Array:
    batch, height, width, channels = images.shape
    even = images[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
