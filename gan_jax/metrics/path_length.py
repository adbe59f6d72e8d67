"""Perceptual path length: perceptual change of images per small step in latent space.

Karras et al. 2018 (arXiv:1812.04948), section 4.1, "full" paths: for latents a and b and t uniform
in [0, 1),

    length = distance(G(slerp(a, b; t)), G(slerp(a, b; t + epsilon))) / epsilon^2

The score is the mean over many pairs, without the 1 % shortest and the 1 % longest (as in the
authors' program). Distances are squared distances, such as LPIPS, so that the length does not
depend on epsilon. Images are not rounded to grey levels, which would hide such a small step.

Deviations: latents are drawn from N(0, I) and not projected to a sphere as StyleGAN's are; `slerp`
interpolates their norms. Images are not cropped; both ends of a path have the same class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 1e-4
TRIM = 0.01  # fraction trimmed at either end


def slerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """Interpolate spherically (Shoemake 1985; for latents arXiv:1609.04468, section 2.1).

    Args:
      a: [B, ...], at t = 0; each entry is flattened to one vector.
      b: the same shape, at t = 1; not antiparallel to a.
      t: [B].

    Returns:
      [B, ...]; if the norms of a and b differ, the norm varies smoothly between them.
    """
    x, y = a.reshape(len(a), -1), b.reshape(len(b), -1)

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.linalg.norm(v, axis=1, keepdims=True), 1e-12)

    cosine = (unit(x) * unit(y)).sum(1)
    # The bound avoids dividing by sin 0 for parallel vectors.
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
    """Return the length of each path, [B], in the unit of the distance.

    Pure, so it can be compiled. A step of 1e-4 loses digits in float32: rounding in the generator,
    about 1e-7 per pixel, is about 1e-3 of the change.

    Args:
      generate: latents -> images [B, H, W, C] in [-1, 1].
      distance: (images, images) -> squared distances [B].
      start: latents, a pytree with leaves [B, ...]; floats are interpolated, labels kept.
      end: the same structure.
      place: t of each path, [B] in [0, 1).
      epsilon: step size in t.
    """

    def at(t: jax.Array) -> Any:
        def between(a: jax.Array, b: jax.Array) -> jax.Array:
            return slerp(a, b, t) if jnp.issubdtype(a.dtype, jnp.floating) else a

        return jax.tree.map(between, start, end)

    return distance(generate(at(place)), generate(at(place + epsilon))) / epsilon**2


def trimmed_mean(lengths: np.ndarray, trim: float = TRIM) -> float:
    """Return the mean of the lengths between two quantiles, inclusive.

    Args:
      lengths: [N].
      trim: fraction trimmed at either end; a quantile between two lengths is rounded outwards.
    """
    lengths = np.asarray(lengths, np.float64)
    low = np.quantile(lengths, trim, method="lower")
    high = np.quantile(lengths, 1 - trim, method="higher")
    return float(lengths[(low <= lengths) & (lengths <= high)].mean())
