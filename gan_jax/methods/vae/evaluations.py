"""What can be measured of a VAE beside its bound: likelihood by importance sampling, posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.metric_names import MetricName
from gan_jax.core.options import Option
from gan_jax.core.state import TrainState
from gan_jax.core.task import Batch, Evaluation, Key, Metrics
from gan_jax.metrics.likelihood import bits_per_dimension, importance_weighted
from gan_jax.metrics.posterior import AggregatedPosterior, posterior_sums
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.objectives.bounds import log_weights
from gan_jax.objectives.distributions import Bernoulli, Normal, PixelNormal, standard_normal

NLL_OPTIONS = {
    "samples": Option(200, "importance samples an image", low=1),
    "binarize": Option(
        "none",
        "score images of 0 and 1: drawn with the grey levels' probability (bernoulli), or cut at"
        " one half (threshold)",
        choices=("none", "bernoulli", "threshold"),
    ),
}
_DECODED_AT_ONCE = 1024  # images, by importance sampling: bounds its memory


def make_evaluations(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    latent: int,
    likelihood: Callable[[jax.Array], Bernoulli | PixelNormal] | None,
) -> dict[str, Evaluation]:
    """Return the evaluations of an autoencoder; weights are the average.

    nll: -log p(x) by importance sampling (see `metrics.likelihood`), in nats an image, as
    `nll/iw200/grey` (a Bernoulli likelihood of grey levels: no normalised density, so it compares
    with its like only), `nll/iw200/bernoulli` and `nll/iw200/threshold` (of binary images), or
    `nll/iw200/density` (Gaussian, in the [-1, 1] scale). `bits_per_dim/...` where pixels have
    probabilities: of binary images, or of the 256 levels under a Gaussian likelihood, each the
    mass in its bin. The binary image is what the encoder sees, too.

    posterior, posterior_by_dimension: see `metrics.posterior`.

    Args:
      encoder, decoder: the networks, `nets["encoder"]` and `nets["decoder"]` of the state.
      image_shape: (H, W, C).
      latent: dimensions.
      likelihood: outputs of the decoder -> distribution of images; None for a method whose
        decoder has none, which is not asked for `nll`.
    """
    bernoulli = likelihood is Bernoulli
    prior = standard_normal(latent)

    def encode(state: TrainState, images: jax.Array) -> Normal:
        variables = state.nets["encoder"].variables("ema")
        return Normal(*encoder.apply(variables, images, train=False))

    def nll_step(
        state: TrainState, batch: Batch, key: Key, *, samples: int, binarize: str
    ) -> Metrics:
        if binarize != "none" and not bernoulli:
            raise UserError(
                f"option binarize={binarize!r}: this VAE's Gaussian likelihood is of grey levels,"
                " leave it at none; model.likelihood=bernoulli is one of binary images"
            )
        keys = jax.vmap(jax.random.split)(fold_in_each(key, batch["index"]))
        images = binarized(batch["image"], keys[:, 0], how=binarize)
        variables, posterior = state.nets["decoder"].variables("ema"), encode(state, images)
        terms = {"density": lambda outputs: likelihood(outputs).log_prob(images)}
        if not bernoulli:
            terms["probability"] = lambda outputs: likelihood(outputs).level_log_prob(images)

        def weights(keys: Key) -> dict[str, jax.Array]:
            found = log_weights(
                posterior=posterior,
                prior=prior,
                decode=lambda z: decoder.apply(variables, z, train=False),
                likelihoods=terms,
                keys=keys.T,
            )
            return {name: logs.T for name, logs in found.items()}

        found = importance_weighted(
            weights,
            keys[:, 1],
            samples=samples,
            at_once=min(samples, max(1, _DECODED_AT_ONCE // len(images))),
        )
        values = {name: -estimate.log_likelihood for name, estimate in found.items()}
        values["effective_samples"] = found["density"].effective_samples
        return masked_sums(values, batch["mask"])

    def nll_metrics(totals: Mapping[str, Any], *, samples: int, binarize: str) -> dict[str, float]:
        found = means(totals)
        kind = {"none": "grey" if bernoulli else "density"}.get(binarize, binarize)
        nats = found["density" if bernoulli else "probability"]
        metrics = {"nll": found["density"]}
        if kind != "grey":
            metrics["bits_per_dim"] = bits_per_dimension(nats, image_shape)
        metrics["effective_samples"] = found["effective_samples"]
        protocol = f"iw{samples}", kind
        return {str(MetricName(n, protocol=protocol)): value for n, value in metrics.items()}

    def posterior_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        mean, log_variance = encode(state, batch["image"])
        return posterior_sums(mean=mean, log_variance=log_variance, mask=batch["mask"])

    nll = Evaluation(
        "negative log likelihood by importance sampling, nats an image and bits/dim",
        nll_step,
        nll_metrics,
        NLL_OPTIONS,
    )
    return {
        **({} if likelihood is None else {"nll": nll}),
        "posterior": Evaluation(
            "active units; KL of the aggregated posterior's moments from the prior's, nats",
            posterior_step,
            posterior_metrics,
        ),
        "posterior_by_dimension": Evaluation(
            "KL, variance of the means and aggregated moments of each latent dimension",
            posterior_step,
            posterior_metrics_by_dimension,
        ),
    }


def binarized(images: jax.Array, keys: Key, *, how: str) -> jax.Array:
    """Return images of -1 and 1 made of grey levels.

    Args:
      images: [B, H, W, C] in [-1, 1].
      keys: one an image, [B].
      how: "bernoulli" draws each pixel with its grey level (x + 1) / 2 as the probability of 1
        (Salakhutdinov & Murray 2008: the binarised MNIST of the field, with draws of its
        own); "threshold" cuts at one half; "none" returns the images.
    """
    if how == "none":
        return images
    levels = (images + 1) / 2
    ones = levels > 0.5 if how == "threshold" else jax.vmap(jax.random.bernoulli)(keys, levels)
    return jnp.where(ones, 1.0, -1.0)


def posterior_metrics(totals: Mapping[str, Any]) -> dict[str, float]:
    """Return what the aggregated posterior is like in a few numbers."""
    found = AggregatedPosterior.from_totals(totals)
    return {
        "active_units": float(found.active().sum()),
        "posterior_kl": float(found.kl.sum()),
        "posterior_moment_kl": found.moment_kl(),
        "posterior_moment_kl_margins": float(found.moment_kl_by_dimension().sum()),
    }


def posterior_metrics_by_dimension(totals: Mapping[str, Any]) -> dict[str, float]:
    """Return a few numbers for each latent dimension."""
    found = AggregatedPosterior.from_totals(totals)
    columns = {
        "kl": found.kl,
        "variance_of_means": np.diag(found.covariance_of_means),
        "mean": found.mean,
        "variance": np.diag(found.covariance),
        "moment_kl": found.moment_kl_by_dimension(),
    }
    return {
        str(MetricName(f"posterior_{name}", f"{d:03d}")): float(value)
        for name, values in columns.items()
        for d, value in enumerate(values)
    }
