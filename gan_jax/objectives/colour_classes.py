"""Colourisation as classification of a pixel's ab colour (Zhang et al. 2016, arXiv:1603.08511).

Colours of CIE Lab are sorted into bins of a grid on the ab plane. Predicting a distribution over
bins, not one colour, avoids the greyish mean of all colours that an object may have; rare colours
count more.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.ops.colour import rgb_to_lab

GRID = 10  # side of a bin
NEIGHBOURS = 5  # bins that share a colour
SIGMA = 5.0  # of the Gaussian by which they share it
TEMPERATURE = 0.38
UNIFORM = 0.5  # share of the uniform distribution in the weights of classes


@functools.cache
def bins() -> np.ndarray:
    """Return the centres of the bins that hold a colour of sRGB.

    The projection of the RGB cube onto the ab plane is that of its surface, of which all 8-bit
    colours are sorted.

    Deviation: 261 bins; the paper has 313, from a file of its authors, which also holds bins around
    the gamut.

    Returns:
      float32 [Q, 2], multiples of 10, ordered by a, then b.
    """
    levels = np.arange(256) / 127.5 - 1
    first, second = (x.ravel() for x in np.meshgrid(levels, levels))
    faces = [
        np.insert(np.stack([first, second], -1), axis, side, axis=1)
        for axis in range(3)
        for side in (-1.0, 1.0)
    ]
    with jax.ensure_compile_time_eval():
        colours = np.asarray(rgb_to_lab(jnp.asarray(np.concatenate(faces), jnp.float32)))[:, 1:]
    return np.unique(np.rint(colours / GRID), axis=0).astype(np.float32) * GRID


def soft_bins(ab: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share colours among their five nearest bins, in proportion to a Gaussian (section 2.1).

    Args:
      ab: colours [..., 2] of CIE Lab.

    Returns:
      Indices int32 [..., 5] of bins, nearest first, and their weights [..., 5], whose sum is 1.
    """
    distance = jnp.square(ab[..., None, :] - bins()).sum(-1)
    near, index = jax.lax.top_k(-distance, NEIGHBOURS)
    return index, jax.nn.softmax(near / (2 * SIGMA**2), -1)


def annealed_mean(logits: jax.Array, *, temperature: float = TEMPERATURE) -> jax.Array:
    """Return the mean colour of the annealed distribution over bins (equation 5).

    Args:
      logits: [..., Q].
      temperature: 1 takes the mean, which is vivid nowhere; towards 0 it becomes the mode, which is
        not smooth. The paper takes 0.38.

    Returns:
      ab [..., 2].
    """
    shares = jax.nn.softmax(logits.astype(jnp.float32) / temperature, -1)
    return jnp.matmul(shares, jnp.asarray(bins()), precision="highest")


def rebalanced_weights(
    counts: np.ndarray, *, uniform: float = UNIFORM, sigma: float = SIGMA
) -> np.ndarray:
    """Return the weights of classes by which rare colours count more (equation 4).

    The weight of a bin is proportional to 1 / ((1 - uniform) p + uniform / Q), and the mean weight
    of a pixel is 1.

    Args:
      counts: [Q], how many pixels of the training images are in each bin; fractions allowed.
      uniform: the paper's lambda in [0, 1]; 1 weights all alike.
      sigma: of the Gaussian on the ab plane by which the frequencies p are smoothed, which the
        paper does not state: 5, as in the encoding; 0 for none.

    Returns:
      float32 [Q].
    """
    share = np.asarray(counts, np.float64) / np.sum(counts)
    if sigma:
        distance = np.square(bins()[:, None] - bins()).sum(-1)
        kernel = np.exp(-distance / (2 * sigma**2))
        share = share @ (kernel / kernel.sum(1, keepdims=True))
    weights = 1 / ((1 - uniform) * share + uniform / len(share))
    return (weights / (share * weights).sum()).astype(np.float32)


def rebalanced_cross_entropy(*, logits: jax.Array, ab: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the cross entropy of soft classes, weighted by class (equation 2).

    Args:
      logits: [B, H, W, Q].
      ab: true colours [B, H, W, 2].
      weights: [Q], see `rebalanced_weights`; a pixel has that of its nearest bin.

    Returns:
      [B], nats per pixel. Deviation: the mean over pixels (paper: the sum).
    """
    index, shares = soft_bins(ab.astype(jnp.float32))
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits.astype(jnp.float32)), index, -1)
    pixel_weights = jnp.asarray(weights)[index[..., 0]]
    return -(pixel_weights * (shares * log_probs).sum(-1)).mean((1, 2))
