"""Inception Score of a classifier's logits."""

from __future__ import annotations

import itertools

import jax
import numpy as np
from scipy.special import log_softmax

from gan_jax.core.errors import UserError
from gan_jax.metrics.samples import feature_rows


def inception_score(
    logits: jax.Array, *, splits: int = 10, seed: int = 2020
) -> tuple[float, float]:
    """Return the Inception Score of generated images.

    Salimans et al. 2016, arXiv:1606.03498, section 4: exp E_x KL(p(y|x) || p(y)), with p(y) the
    mean of p(y|x) over a split. Equal to torch-fidelity to 1e-10 with its default seed, as here.
    Deviation, as there: samples are shuffled first, since images generated class by class would
    leave each split with few classes; the authors' program keeps their order. The score grows with
    the number of samples per split, so scores of different sizes are not comparable.

    Args:
      logits: [N, K] of one classifier, unnormalised.
      splits: number of parts that are scored separately; 1 for one score over all samples.
      seed: seed of the shuffle.

    Returns:
      The mean over splits, in [1, K], and their standard deviation (population, not n - 1).

    Raises:
      UserError: for fewer samples than splits, or `splits` below 1.
    """
    if splits < 1:
        raise UserError(f"inception_score: splits={splits}: at least 1")
    rows = feature_rows("inception_score", "generated", logits, min_samples=splits)
    order = np.random.RandomState(seed).permutation(len(rows))
    log_p = log_softmax(rows[order].astype(np.float64), axis=1)
    bounds = [i * len(rows) // splits for i in range(splits + 1)]
    scores = [_score(log_p[a:b]) for a, b in itertools.pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    marginal = p.mean(0)
    # A class whose probability underflows in every sample contributes 0, not NaN.
    log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0)
    return float(np.exp((p * (log_p - log_marginal)).sum(1).mean()))
