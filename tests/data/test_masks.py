"""Masks of inpainting: shares, places, and strokes without gaps."""

from __future__ import annotations

import jax
import numpy as np
from scipy import ndimage

from gan_jax.core.keys import fold_in_each
from gan_jax.data.masks import STROKES, rectangles, strokes

KEYS = fold_in_each(jax.random.key(0), np.arange(300))


def test_rectangles_have_their_share_everywhere() -> None:
    size = (24, 60)
    masks = np.asarray(jax.jit(lambda keys: rectangles(keys, size, least=0.2, most=0.5))(KEYS))
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == np.ptp(rows) * np.ptp(columns) + len(rows) + len(columns) - 1
    shares = masks.mean((1, 2))
    # Sides are rounded by at most half a pixel.
    assert 0.2 * 0.9 < shares.min() < 0.23 and 0.47 < shares.max() < 0.5 * 1.1
    assert abs(shares.mean() - 0.35) < 0.02
    assert masks[:, 0].any() and masks[:, -1].any() and masks[..., 0].any() and masks[..., -1].any()
    tall, wide = masks.any(2).sum(1), masks.any(1).sum(1)
    assert (wide > 1.8 * tall).any() and (wide < 0.8 * tall).any()


def test_strokes_are_connected_and_of_a_width() -> None:
    masks = np.asarray(jax.jit(lambda keys: strokes(keys, (48, 64)))(KEYS))
    parts = [ndimage.label(mask, np.ones((3, 3)))[1] for mask in masks]
    assert min(parts) == 1 and 1 < max(parts) <= STROKES
    shares = masks.mean((1, 2))
    assert 0 < shares.min() < 0.06 and 0.3 < shares.max() < 0.7
    assert 0.15 < shares.mean() < 0.25
    # No pixel is farther from the outside than the widest radius, where strokes do not cross.
    depth = np.array([ndimage.distance_transform_edt(mask).max() for mask in masks])
    assert np.median(depth) < 48 * 0.15
    # Everywhere, and least often at the borders, which have neighbours on one side only.
    rows = masks.mean((0, 2))
    assert rows.min() > 0.05 and rows[0] < rows[24]
    assert jax.jit(lambda keys: strokes(keys, (3, 2)))(KEYS).any((1, 2)).all()
