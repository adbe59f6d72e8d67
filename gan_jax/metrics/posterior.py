"""What a VAE's encoder uses its latents for: active units and the aggregated posterior.

The aggregated posterior is the mixture q(z) = E_x[q(z|x)] over a split, q(z|x) = N(mean, diag
variance). Where it is not the prior N(0, I), samples of the prior are decoded from places that
training never saw (Hoffman & Johnson 2016, "ELBO surgery").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ACTIVE = 0.01  # of Burda et al.: the variance above which a unit is active


def posterior_sums(
    *, mean: jax.Array, log_variance: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """Return what `AggregatedPosterior.from_totals` takes, summed over a batch.

    Args:
      mean: [B, D], of q(z|x).
      log_variance: [B, D], of q(z|x).
      mask: [B] float32, 0 for the padding of the last batch.
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
    """The moments of a mixture of posteriors over a split; float64.

    Attributes:
      count: images, N.
      mean: [D], of q(z).
      covariance_of_means: [D, D], of the posteriors' means over the images, divided by N.
      mean_variance: [D], the posteriors' variances averaged over the images.
      kl: [D], KL(q(z_d|x) || N(0, 1)) averaged over the images; nats. Its sum is the bound's KL.
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
        """Return KL(N(mean, covariance) || N(0, I)) of q(z)'s moments; nats.

        The normal distribution with the moments of q(z) is the nearest to it, and what of
        KL(q(z) || N(0, I)) a normal distribution shows: a lower bound of it. 0 where q(z) has
        the prior's moments; infinite for a singular covariance.
        """
        sign, log_det = np.linalg.slogdet(self.covariance)
        if sign <= 0:
            return float("inf")
        return 0.5 * float(
            np.trace(self.covariance) + self.mean @ self.mean - len(self.mean) - log_det
        )

    def moment_kl_by_dimension(self) -> np.ndarray:
        """Return KL(N(mean_d, variance_d) || N(0, 1)) of q(z)'s margins, [D]; nats.

        Their sum is at most `moment_kl`, and lacks what the units' correlation adds.
        """
        variance = np.diag(self.covariance)
        return 0.5 * (variance + self.mean**2 - 1 - np.log(variance))
