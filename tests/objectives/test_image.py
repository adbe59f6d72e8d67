"""Image distances against NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.objectives.image import l1, l2


def test_mean_by_image():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 3, 5, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(
        l1(prediction=a, target=b), np.abs(a - b).reshape(3, -1).mean(1), rtol=1e-6
    )
    np.testing.assert_allclose(
        l2(prediction=a, target=b), ((a - b) ** 2).reshape(3, -1).mean(1), rtol=1e-6
    )


@pytest.mark.parametrize("loss", [l1, l2])
def test_equal_pixels_have_no_gradient(loss):
    """As in PyTorch: a network that starts as the identity gets no push where it is right."""
    right = np.full((1, 2, 2, 3), 0.5, np.float32)
    right[0, 0, 0, 0], expected = 0.25, np.zeros_like(right)
    expected[0, 0, 0, 0] = {l1: -1, l2: -0.5}[loss] / right.size
    target = np.full_like(right, 0.5)
    found = jax.grad(lambda x: loss(prediction=x, target=target).sum())(right)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [l1, l2])
def test_no_silent_broadcasting(loss):
    with pytest.raises(ValueError, match="agree"):
        loss(prediction=np.zeros((2, 4, 4, 3)), target=np.zeros((2, 4, 4, 1)))
