"""Signs of a training's health that its step does not give: singular values and variety of samples.

They are computed where pictures are made, not at each step: singular values cost some passes over
the weights, and variety needs the pictures. What the step gives (losses, logits, accuracies, norms
of the gradients) is in its metrics.
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

ITERATIONS = 10  # of the power method, where no layer keeps a singular vector
VARIETY_IMAGES = 64  # real images that the samples are compared with
_MATRICES = ("kernel", "embedding")  # by their names, as in gan_jax.models.blocks.spectral


def finite(state: TrainState) -> Metrics:
    """Return {"weights/NET": 0, or nan if the network or its optimizer holds nan or infinity}."""

    def check(net: Any) -> jax.Array:
        floats = [x for x in jax.tree.leaves(net) if jnp.issubdtype(x.dtype, jnp.floating)]
        return jnp.where(jnp.array([jnp.isfinite(x).all() for x in floats]).all(), 0, jnp.nan)

    return {log_name("weights", name): check(net) for name, net in state.nets.items()}


def spectral_norms(state: TrainState) -> Metrics:
    """Estimate the largest singular value of every weight, from below.

    Each weight is the matrix of `gan_jax.models.blocks.spectral`, before any division by its norm;
    its sudden growth announces the collapse of a GAN (Brock et al. 2018, arXiv:1809.11096, section
    4.1). A spectrally normalised layer keeps the singular vector, for which half a power iteration
    is enough; others take `ITERATIONS` of them from a fixed start, which finds at least 0.9 of the
    norm of a matrix of independent entries of up to 1,000 columns.

    Returns:
      {"spectral_norm/NET/LAYER": float32 scalar}.
    """
    return {
        log_name("spectral_norm", name, *layer): _largest(kernel, u)
        for name, net in state.nets.items()
        for layer, kernel, u in _weights(net)
    }


class Signs:
    """What is measured where pictures are made, compiled once.

    Args:
      parallel: the devices.
      split: real images; the first of them are what samples are compared with.
      stream: of the split, the images.
    """

    def __init__(self, parallel: Parallel, split: Split, stream: str) -> None:
        self._split, self._stream = split, stream
        self._spectral_norms = parallel.compile_map(spectral_norms)

    def read(self, state: TrainState, samples: np.ndarray | None = None) -> dict[str, float]:
        """Return the spectral norms, and "diversity/samples" of samples [rows, columns, ...]."""
        found = {k: float(v) for k, v in jax.device_get(self._spectral_norms(state)).items()}
        if samples is not None and samples.shape[2:] == self._real.shape[1:]:
            images = samples.reshape(-1, *samples.shape[2:])
            found["diversity/samples"] = diversity(images, self._real)
        return found

    @functools.cached_property
    def _real(self) -> np.ndarray:
        return next(iter(eval_batches(self._split, VARIETY_IMAGES)))[self._stream]


def _weights(net: NetState) -> Iterator[tuple[list[str], jax.Array, jax.Array | None]]:
    """Yield (layer, weight, its singular vector if it keeps one)."""
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
    """Return the mean Euclidean distance of two of the images, [N, ...] with N >= 2."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    squares = (flat**2).sum(1)
    products = squares[:, None] + squares[None] - 2 * flat @ flat.T
    distances = np.sqrt(np.maximum(products, 0))
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))


def diversity(samples: np.ndarray, real: np.ndarray) -> float:
    """Return how far samples are apart, by how far real images are.

    Args:
      samples: [N, H, W, C], N >= 2.
      real: [M, H, W, C] of the same range, M >= 2.

    Returns:
      Ratio of their mean pairwise Euclidean distances: 0 when all samples are one image, about 1
      when they are as different as real images. Noise is different too: a high value proves
      nothing.
    """
    return mean_distance(samples) / max(mean_distance(real), np.finfo(np.float64).tiny)
