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
_REACH = 11  # of the grid in cells: sRGB lies within 115
UNIFORM = 0.5  # share of the uniform distribution in the weights of classes


@functools.cache
def bins() -> np.ndarray:
    """Return the centres of the bins that hold a colour of sRGB.

    The projection of the RGB cube onto the ab plane is that of its surface, of which all 8-bit
    colours are sorted.

    Deviation: 261 bins; the paper has 313, by a criterion of being in the gamut that it does not
    state.

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


@functools.cache
def _neighbourhoods() -> tuple[np.ndarray, np.ndarray]:
    """Return what is near each cell of the grid, so that a colour is not compared with every bin.

    Returns:
      The nearest bin of each cell's centre, int32 [cells], and the centres of bins among which the
      five nearest of any colour in the cell are, float32 [cells, K, 2]. Cells without a colour of
      sRGB have the K nearest of their centre.
    """
    cells = GRID * np.stack(np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1], -1).reshape(-1, 2)
    distance = np.linalg.norm(cells[:, None] - bins(), axis=-1)
    order = np.argsort(distance, 1, kind="stable")
    ordered = np.take_along_axis(distance, order, 1)
    # A colour is at most half a diagonal from the centre of its cell.
    possible = ordered <= ordered[:, NEIGHBOURS - 1 : NEIGHBOURS] + GRID * 2**0.5 + 1e-3
    count = possible[ordered[:, 0] == 0].sum(1).max()
    return order[:, 0].astype(np.int32), bins()[order[:, :count]]


def _cell(ab: jax.Array) -> jax.Array:
    place = jnp.clip(jnp.round(ab / GRID), -_REACH, _REACH).astype(jnp.int32) + _REACH
    return place[..., 0] * (2 * _REACH + 1) + place[..., 1]


def nearest_bin(ab: jax.Array) -> jax.Array:
    """Return the nearest bin of colours of sRGB: ab [..., 2] -> int32 [...] in [0, Q)."""
    return jnp.asarray(_neighbourhoods()[0])[_cell(ab)]


def soft_bins(ab: jax.Array) -> jax.Array:
    """Share colours among their five nearest bins, in proportion to a Gaussian (section 2.1).

    Of bins at the same distance, all or none have a share.

    Args:
      ab: colours of sRGB in CIE Lab, [..., 2].

    Returns:
      Shares [..., Q] float32, whose sum is 1.
    """
    ab = ab.astype(jnp.float32)
    near = jnp.asarray(_neighbourhoods()[1])[_cell(ab)]
    near = -jax.lax.top_k(-jnp.square(ab[..., None, :] - near).sum(-1), NEIGHBOURS)[0]
    least, most = near[..., :1], near[..., -1:]
    centres = bins()
    distance = jnp.square(ab[..., :1] - centres[:, 0]) + jnp.square(ab[..., 1:] - centres[:, 1])
    # Up to rounding, which differs between the two computations of a distance.
    shared = distance <= most * (1 + 1e-5) + 1e-5
    shares = jnp.where(shared, jnp.exp((least - distance) / (2 * SIGMA**2)), 0)
    return shares / shares.sum(-1, keepdims=True)


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


def bin_counts(ab: jax.Array) -> jax.Array:
    """Return how many pixels are in each bin, a pixel shared by its five nearest.

    Args:
      ab: colours of sRGB in CIE Lab, [..., 2].

    Returns:
      float32 [Q], whose sum is the number of pixels.
    """
    return soft_bins(ab).reshape(-1, len(bins())).sum(0)


def rebalanced_weights(
    counts: jax.Array, *, uniform: float = UNIFORM, sigma: float = SIGMA
) -> jax.Array:
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
    share = jnp.asarray(counts, jnp.float32) / jnp.sum(counts)
    if sigma:
        distance = np.square(bins()[:, None] - bins()).sum(-1)
        kernel = np.exp(-distance / (2 * sigma**2))
        smooth = jnp.asarray(kernel / kernel.sum(1, keepdims=True), jnp.float32)
        share = jnp.matmul(share, smooth, precision="highest")
    weights = 1 / ((1 - uniform) * share + uniform / len(share))
    return weights / (share * weights).sum()


def rebalanced_cross_entropy(*, logits: jax.Array, ab: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the cross entropy of soft classes, weighted by class (equation 2).

    Args:
      logits: [B, H, W, Q].
      ab: true colours [B, H, W, 2].
      weights: [Q], see `rebalanced_weights`; a pixel has that of its nearest bin.

    Returns:
      [B], nats per pixel. Deviation: the mean over pixels (paper: the sum).
    """
    logits, shares = logits.astype(jnp.float32), jax.lax.stop_gradient(soft_bins(ab))
    # A sum over all bins: five gathered log probabilities would have a gradient that is scattered,
    # which is an order of magnitude slower on CPU.
    entropy = jax.nn.logsumexp(logits, -1) - (shares * logits).sum(-1)
    return (jnp.asarray(weights)[nearest_bin(ab)] * entropy).mean((1, 2))
