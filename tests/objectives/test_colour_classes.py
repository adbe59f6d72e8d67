"""Colourisation by classes: bins, round trips, weights and the loss in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from skimage import color

from gan_jax.objectives.colour_classes import (
    annealed_mean,
    bins,
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


def test_a_colour_is_shared_by_its_nearest_bins() -> None:
    index, weights = jax.jit(soft_bins)(np.array([[0.0, 0.0], [3.0, 0.0]], np.float32))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(CENTRES[index[:, 0]], 0)
    near = {tuple(centre) for centre in CENTRES[index[0]]}
    assert near == {(0, 0), (10, 0), (-10, 0), (0, 10), (0, -10)}
    each = np.exp(-(10**2) / (2 * 5**2))
    np.testing.assert_allclose(weights[0], np.array([1, *[each] * 4]) / (1 + 4 * each), rtol=1e-5)
    distance = np.linalg.norm(CENTRES[index[1]] - [3, 0], axis=-1)
    expected = np.exp(-(distance**2) / 50)
    np.testing.assert_allclose(weights[1], expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(np.sort(distance), distance)


def test_decoding_returns_what_was_encoded() -> None:
    colours = np.random.default_rng(0).uniform(-35, 35, (200, 2)).astype(np.float32)
    index, weights = soft_bins(colours)
    logits = jnp.log(jnp.zeros((200, Q)).at[jnp.arange(200)[:, None], index].set(weights) + 1e-12)
    mean = annealed_mean(logits, temperature=1.0)
    assert np.abs(mean - colours).max() < 3 and np.abs(mean - colours).mean() < 1.2
    # Colder, it comes near the nearest bin.
    cold = annealed_mean(logits, temperature=0.01)
    np.testing.assert_allclose(cold, CENTRES[index[:, 0]], atol=5.01)
    far = np.abs(colours - CENTRES[index[:, 0]]).max(-1) < 4
    np.testing.assert_allclose(cold[far], CENTRES[index[:, 0]][far], atol=1e-2)
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
    index, shares = soft_bins(ab)
    pixel = weights[np.asarray(index[..., 0])]
    even = rebalanced_cross_entropy(logits=jnp.zeros((2, 4, 3, Q)), ab=ab, weights=weights)
    np.testing.assert_allclose(even, pixel.mean((1, 2)) * np.log(Q), rtol=1e-5)

    # Its least value is the weighted entropy of the shares, and its gradient w (p - target) / N.
    logits = rng.normal(size=(2, 4, 3, Q)).astype(np.float32)
    loss = lambda x: rebalanced_cross_entropy(logits=x, ab=ab, weights=weights).sum()  # noqa: E731
    target = np.zeros((2, 4, 3, Q))
    np.put_along_axis(target, np.asarray(index), np.asarray(shares), -1)
    expected = pixel[..., None] * (np.asarray(jax.nn.softmax(logits)) - target) / 12
    np.testing.assert_allclose(jax.grad(loss)(logits), expected, atol=1e-6)
    best = rebalanced_cross_entropy(logits=np.log(target + 1e-30), ab=ab, weights=weights)
    entropy = -(np.asarray(shares) * np.log(shares)).sum(-1)
    np.testing.assert_allclose(best, (pixel * entropy).mean((1, 2)), rtol=1e-4)
