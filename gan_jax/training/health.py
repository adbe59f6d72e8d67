"""Diagnostics of a training: non-finite weights, singular values, and diversity of samples.

Singular values and diversity are computed whenever sample grids are, not at each step: singular
values take several passes over the weights, and diversity needs the samples. Losses, logits,
accuracies and gradient norms are part of each step's metrics.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.metric_names import log_name
from gan_jax.core.state import NetState, TrainState
from gan_jax.core.task import Metrics
from gan_jax.data import Split
from gan_jax.data.pipeline import eval_batches
from gan_jax.models.blocks.spectral import COLLECTION, spectral_norm
from gan_jax.parallel.mesh import Parallel

ITERATIONS = 10  # of the power method, for layers that store no singular vector
REAL_IMAGES = 64  # number of real images that samples are compared with
_MATRICES = ("kernel", "embedding")  # parameter names, as in gan_jax.models.blocks.spectral


def finite(state: TrainState) -> Metrics:
    """Return {"weights/NET": 0, or NaN if the network or its optimizer holds NaN or Inf}."""

    def check(net: Any) -> jax.Array:
        floats = [x for x in jax.tree.leaves(net) if jnp.issubdtype(x.dtype, jnp.floating)]
        return jnp.where(jnp.array([jnp.isfinite(x).all() for x in floats]).all(), 0, jnp.nan)

    return {log_name("weights", name): check(net) for name, net in state.nets.items()}


def spectral_norms(state: TrainState) -> Metrics:
    """Estimate the largest singular value of every weight, from below.

    Weights are reshaped to matrices as in `gan_jax.models.blocks.spectral`, before any spectral
    normalisation. Sudden growth of the norm announces the collapse of a GAN (Brock et al. 2018,
    arXiv:1809.11096, section 4.1). Spectrally normalised layers store a singular vector, for which
    half a power iteration is enough; other layers take `ITERATIONS` power iterations from a fixed
    start, which find at least 0.9 of the norm of a matrix of independent entries with up to 1,000
    columns.

    Returns:
      {"spectral_norm/NET/LAYER": float32 scalar}.
    """
    return {
        log_name("spectral_norm", name, *layer): _largest(kernel, u)
        for name, net in state.nets.items()
        for layer, kernel, u in _weights(net)
    }


class Diagnostics:
    """Spectral norms of the weights and diversity of the samples; compiled once.

    Args:
      parallel: the devices.
      split: real images; samples are compared with the first of them.
      stream: the stream of the split that holds the images.
    """

    def __init__(self, parallel: Parallel, split: Split, stream: str) -> None:
        self._split, self._stream = split, stream
        self._spectral_norms = parallel.compile_map(spectral_norms)

    def measure(self, state: TrainState, samples: np.ndarray | None = None) -> dict[str, float]:
        """Return the spectral norms, and "diversity/samples" of samples [rows, cols, H, W, C]."""
        found = {k: float(v) for k, v in jax.device_get(self._spectral_norms(state)).items()}
        if samples is not None and samples.shape[2:] == self._real.shape[1:]:
            images = samples.reshape(-1, *samples.shape[2:])
            found["diversity/samples"] = diversity(images, self._real)
        return found

    @functools.cached_property
    def _real(self) -> np.ndarray:
        return next(iter(eval_batches(self._split, REAL_IMAGES)))[self._stream]


def _weights(net: NetState) -> Iterator[tuple[list[str], jax.Array, jax.Array | None]]:
    """Yield (layer, weight, stored singular vector or None)."""
    names = lambda path: tuple(str(getattr(key, "key", key)) for key in path)  # noqa: E731
    vectors = {
        names(path)[:-1]: u
        for path, u in jax.tree_util.tree_leaves_with_path(net.extra.get(COLLECTION, {}))
    }
    for path, weight in jax.tree_util.tree_leaves_with_path(net.params):
        *layer, leaf = names(path)
        if leaf in _MATRICES:
            yield layer, weight, vectors.get(tuple(layer))


def _largest(kernel: jax.Array, u: jax.Array | None) -> jax.Array:
    if u is None:
        start = np.random.default_rng(0).standard_normal(kernel.shape[-1]).astype(np.float32)
        step = lambda _, u: spectral_norm(kernel, u, iterate=True)[1]  # noqa: E731
        u = jax.lax.fori_loop(0, ITERATIONS, step, start / np.linalg.norm(start))
    return spectral_norm(kernel, u, iterate=False)[0]


def mean_distance(images: np.ndarray) -> float:
    """Return the mean pairwise Euclidean distance of images [N, ...], N >= 2."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    squares = (flat**2).sum(1)
    products = squares[:, None] + squares[None] - 2 * flat @ flat.T
    distances = np.sqrt(np.maximum(products, 0))
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))


def diversity(samples: np.ndarray, real: np.ndarray) -> float:
    """Return the mean pairwise distance of samples relative to that of real images.

    Args:
      samples: [N, H, W, C], N >= 2.
      real: [M, H, W, C] of the same range, M >= 2.

    Returns:
      Ratio of their mean pairwise Euclidean distances: 0 if all samples are equal, about 1 if they
      vary as much as real images. A low value indicates collapse; a high one proves nothing, since
      noise has a high value too.
    """
    return mean_distance(samples) / max(mean_distance(real), np.finfo(np.float64).tiny)
