"""Diagnostics of a VAE's posterior: active units and the aggregated posterior.

The aggregated posterior is the mixture q(z) = E_x[q(z|x)] over a split, q(z|x) = N(mean, diag
variance). Where it differs from the prior N(0, I), the decoder is given latents that it was not
trained on (Hoffman & Johnson 2016, "ELBO surgery").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ACTIVE = 0.01  # variance above which a unit is active, as in Burda et al.


def posterior_sums(
    *, mean: jax.Array, log_variance: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """Return the sums over a batch that `AggregatedPosterior.from_totals` needs.

    Args:
      mean: [B, D], mean of q(z|x).
      log_variance: [B, D], log variance of q(z|x).
      mask: [B] float32, 0 for padding in the last batch.
    """
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    kl = 0.5 * (jnp.square(mean) + jnp.expm1(log_variance) - log_variance)
    masked = mask[:, None]
    return {
        "count": mask.sum(),
        "mean": (masked * mean).sum(0),
        "products": jnp.matmul((masked * mean).T, mean, precision="highest"),
        "variance": (masked * jnp.exp(log_variance)).sum(0),
        "kl": (masked * kl).sum(0),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class AggregatedPosterior:
    """Moments of the aggregated posterior over a split, in float64.

    Attributes:
      count: number of images, N.
      mean: [D], mean of q(z).
      covariance_of_means: [D, D], covariance over images of the posterior means, divided by N.
      mean_variance: [D], mean over images of the posterior variances.
      kl: [D], mean over images of KL(q(z_d|x) || N(0, 1)); nats. Its sum is the ELBO's KL.
    """

    count: int
    mean: np.ndarray
    covariance_of_means: np.ndarray
    mean_variance: np.ndarray
    kl: np.ndarray

    @classmethod
    def from_totals(cls, totals: Mapping[str, Any]) -> AggregatedPosterior:
        """Return the moments from the totals of `posterior_sums` over a whole split."""
        count = float(totals["count"])
        mean, products, variance, kl = (
            np.asarray(totals[name], np.float64) / count
            for name in ("mean", "products", "variance", "kl")
        )
        return cls(round(count), mean, products - np.outer(mean, mean), variance, kl)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance [D, D] of q(z): that of the means plus the mean of the variances."""
        return self.covariance_of_means + np.diag(self.mean_variance)

    def active(self, threshold: float = ACTIVE) -> np.ndarray:
        """Return which units are active, bool [D].

        A unit is active if the variance of its posterior's mean over the images is above the
        threshold (Burda et al. 2015, arXiv:1509.00519, section 5 and appendix C).
        """
        return np.diag(self.covariance_of_means) > threshold

    def moment_kl(self) -> float:
        """Return KL(N(mean, covariance) || N(0, I)) with the moments of q(z); nats.

        A lower bound of KL(q(z) || N(0, I)), since the normal distribution with the moments of q(z)
        is the one closest to it. 0 if q(z) has the moments of the prior; infinite for a singular
        covariance.
        """
        sign, log_det = np.linalg.slogdet(self.covariance)
        if sign <= 0:
            return float("inf")
        return 0.5 * float(
            np.trace(self.covariance) + self.mean @ self.mean - len(self.mean) - log_det
        )

    def moment_kl_by_dimension(self) -> np.ndarray:
        """Return KL(N(mean_d, variance_d) || N(0, 1)) of the marginals of q(z), [D]; nats.

        Their sum is at most `moment_kl`; the difference comes from correlations between units.
        """
        variance = np.diag(self.covariance)
        return 0.5 * (variance + self.mean**2 - 1 - np.log(variance))
