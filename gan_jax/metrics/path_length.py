"""Perceptual path length: how far images move, in a perceptual distance, for a step in the latents.

Karras et al. 2018 (arXiv:1812.04948), section 4.1, "full" paths: for latents a and b and a place t
uniform in [0, 1),

    length = distance(G(slerp(a, b; t)), G(slerp(a, b; t + epsilon))) / epsilon^2

and the score is the mean over many pairs, without the 1 % shortest and the 1 % longest (trimmed so
in the authors' program). Distances are of squared type, such as LPIPS, so that a length does not
depend on epsilon. Images are not rounded to grey levels, which would hide so small a step.

Deviations. Latents here are drawn from N(0, I) and not projected to a sphere, as StyleGAN's are:
`slerp` keeps them as far from the origin as such latents lie. No crop of the images; both ends of a
path have one class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 1e-4
TRIM = 0.01  # share left out at either end


def slerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """Interpolate vectors along the sphere (Shoemake 1985; for latents arXiv:1609.04468, sec. 2.1).

    Args:
      a: [B, ...], at t = 0; a vector is all of an entry.
      b: the same shape, at t = 1; not opposite to a.
      t: [B].

    Returns:
      [B, ...]; for a and b of unlike lengths the length changes steadily between them.
    """
    x, y = a.reshape(len(a), -1), b.reshape(len(b), -1)

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.linalg.norm(v, axis=1, keepdims=True), 1e-12)

    cosine = (unit(x) * unit(y)).sum(1)
    # Not of parallel vectors, where any path between them is the same and the sine is 0.
    angle = jnp.maximum(jnp.arccos(jnp.clip(cosine, -1, 1)), 1e-4)[:, None]
    t = t[:, None]
    path = (jnp.sin((1 - t) * angle) * x + jnp.sin(t * angle) * y) / jnp.sin(angle)
    return path.reshape(a.shape)


def path_lengths(
    generate: Callable[[Any], jax.Array],
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    start: Any,
    end: Any,
    place: jax.Array,
    epsilon: float = EPSILON,
) -> jax.Array:
    """Return the length of a small step of each path, [B], in the distance's unit.

    Pure, to be compiled. In float32 the step of 1e-4 loses digits: rounding of the generator's
    arithmetic, about 1e-7 of a pixel, is to the step's change as 1e-3.

    Args:
      generate: latents -> images [B, H, W, C] in [-1, 1].
      distance: (images, images) -> [B], of squared type.
      start: latents, a pytree with leaves [B, ...]; those of floats are interpolated, labels kept.
      end: the same structure.
      place: t of each path, [B] in [0, 1).
      epsilon: step in t.
    """

    def at(t: jax.Array) -> Any:
        def between(a: jax.Array, b: jax.Array) -> jax.Array:
            return slerp(a, b, t) if jnp.issubdtype(a.dtype, jnp.floating) else a

        return jax.tree.map(between, start, end)

    return distance(generate(at(place)), generate(at(place + epsilon))) / epsilon**2


def trimmed_mean(lengths: np.ndarray, trim: float = TRIM) -> float:
    """Return the mean of the lengths between two quantiles.

    Args:
      lengths: [N].
      trim: share left out at either end; the bounds are the lengths at or beyond these quantiles,
        themselves counted.
    """
    lengths = np.asarray(lengths, np.float64)
    low = np.quantile(lengths, trim, method="lower")
    high = np.quantile(lengths, 1 - trim, method="higher")
    return float(lengths[(low <= lengths) & (lengths <= high)].mean())
