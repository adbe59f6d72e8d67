"""Colourisation by classes: bins, round trips, weights and the loss in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from skimage import color

from gan_jax.objectives.colour_classes import (
    annealed_mean,
    bin_counts,
    bins,
    nearest_bin,
    rebalanced_cross_entropy,
    rebalanced_weights,
    soft_bins,
)

CENTRES = bins()
Q = len(CENTRES)


def test_bins_are_those_that_hold_a_colour() -> None:
    """Against colours from all over the cube by scikit-image."""
    levels = np.arange(0, 256, 5) / 255
    cube = np.stack(np.meshgrid(levels, levels, levels), -1)
    found = np.unique(np.rint(color.rgb2lab(cube).reshape(-1, 3)[:, 1:] / 10), axis=0) * 10
    known = {tuple(centre) for centre in CENTRES}
    assert {tuple(centre) for centre in found} <= known
    assert Q == 261 and len(found) > 250
    np.testing.assert_array_equal(CENTRES, np.unique(CENTRES, axis=0))


def brute_force(ab: np.ndarray) -> np.ndarray:
    """Return the shares of all bins by sorting all of them."""
    distance = np.square(ab[:, None] - CENTRES).sum(-1)
    shares = np.exp(-(distance - distance.min(1, keepdims=True)) / (2 * 5**2))
    fifth = np.sort(distance, 1)[:, 4:5]
    shares = np.where(distance <= fifth * (1 + 1e-5) + 1e-5, shares, 0)
    return shares / shares.sum(1, keepdims=True)


def test_a_colour_is_shared_by_its_nearest_bins() -> None:
    """All over the gamut, and of a grey in closed form."""
    levels = np.arange(0, 256, 15) / 255
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    colours = np.concatenate([np.zeros((1, 2)), color.rgb2lab(cube)[:, 1:]]).astype(np.float32)
    shares, nearest = jax.jit(lambda ab: (soft_bins(ab), nearest_bin(ab)))(colours)
    np.testing.assert_allclose(shares, brute_force(colours), atol=1e-4)
    assert 4.99 < (np.asarray(shares) > 0).sum(1).mean() < 5.1
    distance = np.square(colours[:, None] - CENTRES).sum(-1)
    own = np.take_along_axis(distance, np.asarray(nearest)[:, None], 1)[:, 0]
    np.testing.assert_allclose(own, distance.min(1), atol=1e-3)

    counts = bin_counts(colours[:, None])
    np.testing.assert_allclose(counts, np.asarray(shares).sum(0), atol=1e-3)
    np.testing.assert_allclose(counts.sum(), len(colours), rtol=1e-5)

    each = np.exp(-(10**2) / (2 * 5**2))
    expected = {(0, 0): 1, (10, 0): each, (-10, 0): each, (0, 10): each, (0, -10): each}
    expected = [expected.get(tuple(centre), 0) / (1 + 4 * each) for centre in CENTRES]
    np.testing.assert_allclose(shares[0], expected, atol=1e-6)


def test_decoding_returns_what_was_encoded() -> None:
    colours = np.random.default_rng(0).uniform(-35, 35, (200, 2)).astype(np.float32)
    logits = jnp.log(soft_bins(colours) + 1e-12)
    mean = annealed_mean(logits, temperature=1.0)
    assert np.abs(mean - colours).max() < 3 and np.abs(mean - colours).mean() < 1.2
    # Colder, it comes near the nearest bin.
    cold, nearest = annealed_mean(logits, temperature=0.01), CENTRES[nearest_bin(colours)]
    clear = np.abs(colours - nearest).max(-1) < 4
    np.testing.assert_allclose(cold[clear], nearest[clear], atol=1e-2)
    # Two bins with 3 : 1 become 3^(1 / T) : 1.
    two = np.full(Q, -np.inf, np.float32)
    two[[5, 9]] = np.log([3, 1])
    share = 3 ** (1 / 0.38) / (1 + 3 ** (1 / 0.38))
    expected = share * CENTRES[5] + (1 - share) * CENTRES[9]
    np.testing.assert_allclose(annealed_mean(two), expected, rtol=1e-5)


def test_weights_are_those_of_the_equation() -> None:
    counts = np.ones(Q)
    counts[0] = 100
    share = counts / counts.sum()
    found = rebalanced_weights(counts, sigma=0)
    np.testing.assert_allclose((found * share).sum(), 1, rtol=1e-6)
    ratio = (0.5 * share[1] + 0.5 / Q) / (0.5 * share[0] + 0.5 / Q)
    np.testing.assert_allclose(found[0] / found[1], ratio, rtol=1e-6)
    np.testing.assert_allclose(rebalanced_weights(counts, uniform=1), 1, rtol=1e-6)
    # Smoothed, the neighbours of a frequent bin are weighted less than those far away.
    smooth = rebalanced_weights(counts)
    beside = np.argsort(np.linalg.norm(CENTRES - CENTRES[0], axis=-1))
    assert smooth[0] < smooth[beside[1]] < smooth[beside[-1]] * 0.99
    empty = np.zeros(Q)
    empty[3] = 1
    assert np.isfinite(rebalanced_weights(empty)).all()


def test_loss_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    ab = rng.uniform(-50, 50, (2, 4, 3, 2)).astype(np.float32)
    weights = rng.uniform(0.5, 2, Q).astype(np.float32)
    shares = np.asarray(soft_bins(ab))
    pixel = weights[np.asarray(nearest_bin(ab))]
    even = rebalanced_cross_entropy(logits=jnp.zeros((2, 4, 3, Q)), ab=ab, weights=weights)
    np.testing.assert_allclose(even, pixel.mean((1, 2)) * np.log(Q), rtol=1e-5)

    # Its least value is the weighted entropy of the shares, and its gradient w (p - share) / N.
    logits = rng.normal(size=(2, 4, 3, Q)).astype(np.float32)
    loss = lambda x: rebalanced_cross_entropy(logits=x, ab=ab, weights=weights).sum()  # noqa: E731
    expected = pixel[..., None] * (np.asarray(jax.nn.softmax(logits)) - shares) / 12
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), expected, atol=1e-6)
    best = rebalanced_cross_entropy(logits=np.log(shares + 1e-30), ab=ab, weights=weights)
    entropy = -np.where(shares > 0, shares * np.log(shares + 1e-30), 0).sum(-1)
    np.testing.assert_allclose(best, (pixel * entropy).mean((1, 2)), rtol=1e-4)
