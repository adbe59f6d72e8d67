"""Spectral normalisation: layers whose weight is divided by its largest singular value.

Miyato et al. 2018 (arXiv:1802.05957, algorithm 1). The weight is the matrix W that maps a patch of
the input to one pixel of the output; its largest singular value is estimated by one power iteration
per pass. The vector u that the next pass starts from is state, not a parameter: it is float32, in
the collection "spectral", depends on weights only, and so is the same on all devices.

The gradient treats u and v in sigma = u^T W v as constants, so that its derivative is u v^T, as in
the paper's analysis; nothing is differentiated through the iteration.

Epsilon is a lower bound of a vector's length, not added to it, here as in PyTorch. It is 1e-6 in
BigGAN's scripts and StudioGAN, and 1e-12 in PyTorch and here; this makes a difference only for
weights whose product with a unit vector is shorter than 1e-6.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from gan_jax.models.blocks.layers import Conv, Dense, Embed
from gan_jax.models.blocks.wide import widen

COLLECTION = "spectral"
_WEIGHTS = ("kernel", "embedding")  # parameters that are normalised; a bias is not
_TINY = 1e-12  # lower bound of norms, so that a zero weight stays zero rather than nan


def _unit(vector: Array) -> Array:
    norm = jnp.sqrt(jnp.square(vector).sum())
    return vector / jnp.where(norm > _TINY, norm, _TINY)


def spectral_norm(kernel: Array, u: Array, *, iterate: bool) -> tuple[Array, Array]:
    """Estimate the largest singular value of a weight, from below.

    Args:
      kernel: [..., O], taken as the matrix W^T of O columns.
      u: [O] float32 of length 1, the current estimate of W's left singular vector.
      iterate: take one power iteration, v = W^T u and u = W v, each normalised; False takes only
        the first half, v for the given u.

    Returns:
      sigma, a float32 scalar, differentiable in `kernel` with the gradient u v^T; and the new u
      (without iteration, the old one).
    """
    transposed = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
    fixed = lax.stop_gradient(transposed)
    product = functools.partial(jnp.matmul, precision="highest")
    v = _unit(product(fixed, u))
    if iterate:
        u = _unit(product(v, fixed))
    return product(product(v, transposed), u), u


class _Normalized:
    """Mixin that normalises a Flax layer by overriding `self.param`, which returns its weight.

    Parameters keep the names, shapes and initial values of the plain layer.
    """

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Return the parameter, divided by its spectral norm if it is a weight."""
        value = super().param(name, *args, **kwargs)
        if name not in _WEIGHTS:
            return value

        def start() -> Array:
            return _unit(jax.random.normal(self.make_rng("params"), value.shape[-1:], jnp.float32))

        u = self.variable(COLLECTION, "u", start)
        sigma, new = spectral_norm(value, u.value, iterate=self.train)
        if self.train and self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            u.value = new
        return (widen(value) / jnp.where(sigma > _TINY, sigma, _TINY)).astype(value.dtype)


class SpectralConv(_Normalized, Conv):
    """`layers.Conv`, spectrally normalised.

    Attributes:
      train: take a power iteration at each pass, and keep the new u where the collection
        "spectral" is mutable; False uses the stored u.
    """

    train: bool = False


class SpectralDense(_Normalized, Dense):
    """`layers.Dense`, spectrally normalised; `train` as in `SpectralConv`."""

    train: bool = False


class SpectralEmbed(_Normalized, Embed):
    """`layers.Embed`, normalised as one matrix, as the authors' code does; see `train`."""

    train: bool = False
