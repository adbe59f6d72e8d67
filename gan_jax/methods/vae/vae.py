"""The variational autoencoder (Kingma & Welling, arXiv:1312.6114; Rezende et al., arXiv:1401.4082).

One update maximises, averaged over the batch, the lower bound of log p(x) in nats an image

    elbo = reconstruction - kl
    reconstruction = E[log p(x|z)], z from q(z|x)
    kl = KL(q(z|x) || N(0, I))

with one draw of z an image (L = 1 in eq. 7 of arXiv:1312.6114) and the closed form of kl. The loss
is beta * kl - reconstruction: with beta = 1 minus the elbo, else that of beta-VAE (Higgins et al.,
ICLR 2017, eq. 4). "elbo" is always that of beta = 1.

Bernoulli likelihood: the targets are the grey levels (x + 1) / 2 in [0, 1]. They are not binarised,
so that elbo is not comparable with published numbers on binarised MNIST. Gaussian: a density in the
[-1, 1] scale with a fixed standard deviation `model.likelihood.scale`; elbo may be positive.

Evaluations by name are in `evaluations`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task, Transform
from gan_jax.methods.roles import check_network
from gan_jax.methods.terms import make_terms, terms_of
from gan_jax.methods.update import Aux, Nets, make_net, make_update
from gan_jax.methods.vae.evaluations import make_evaluations
from gan_jax.metrics.path_length import slerp
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.models.vae import VAE, ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from gan_jax.objectives.likelihood import (
    bernoulli_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
)
from gan_jax.parallel.axes import example_keys
from gan_jax.training.optimizers import OPTIMIZERS


class Likelihood(NamedTuple):
    """What the decoder's outputs mean.

    Attributes:
      name: as of the config.
      scale: of a Gaussian, its standard deviation.
      log_prob: (outputs, images in [-1, 1]) -> log p(x|z) [B].
      mean: outputs -> its mean in [-1, 1]; that of a Gaussian is clipped to it.
    """

    name: str
    scale: float
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    mean: Callable[[jax.Array], jax.Array]


def conv(*, image_shape: tuple[int, int, int], latent: int, width: int = 32) -> VAE:
    """Return a convolutional VAE for sides divisible by 4.

    Args:
      image_shape: of the data.
      latent: dimensions.
      width: channels of the first convolution.
    """
    _check_width(width)
    encoder, decoder = ConvEncoder(latent=latent, width=width), ConvDecoder(image_shape, width)
    return VAE(encoder=encoder, decoder=decoder)


def mlp(*, image_shape: tuple[int, int, int], latent: int, width: int = 512) -> VAE:
    """Return a VAE of dense layers, for images of any size; `width` units of a hidden layer."""
    _check_width(width)
    encoder, decoder = MLPEncoder(latent=latent, width=width), MLPDecoder(image_shape, width)
    return VAE(encoder=encoder, decoder=decoder)


def bernoulli() -> Likelihood:
    """Return the likelihood of grey levels (x + 1) / 2 in [0, 1], of logits."""
    return Likelihood(
        "bernoulli",
        0.0,
        lambda outputs, images: bernoulli_log_likelihood(logits=outputs, target01=(images + 1) / 2),
        lambda outputs: 2 * jax.nn.sigmoid(outputs) - 1,
    )


def gaussian(*, scale: float = 0.2) -> Likelihood:
    """Return a Gaussian likelihood of pixels in [-1, 1], with `scale` as standard deviation."""
    if scale <= 0:
        raise UserError(f"model.likelihood.scale={scale}: a standard deviation is above 0")
    return Likelihood(
        "gaussian",
        scale,
        lambda outputs, images: gaussian_log_likelihood(mean=outputs, target=images, scale=scale),
        lambda outputs: jnp.clip(outputs, -1, 1),
    )


def rules(*, beta: float = 1.0) -> float:
    """Return the weight of the KL divergence: 1 is the VAE, more is beta-VAE."""
    if beta < 0:
        raise UserError(f"task.beta={beta}: at least 0; 1 is the plain VAE")
    return beta


def latents_of(*, latent: int = 20) -> int:
    """Return the dimensions of the latents."""
    if latent < 1:
        raise UserError(f"model.latent={latent}: at least 1")
    return latent


NETWORKS = Choice({"conv": conv, "mlp": mlp}, ("image_shape", "latent"), "conv", nn.Module)
LIKELIHOODS = Choice({"bernoulli": bernoulli, "gaussian": gaussian}, default="gaussian")
RULES = Choice({"vae": rules})
LATENTS = Choice({"": latents_of})
SECTIONS: Sections = {
    "task": RULES,
    "model": LATENTS,
    "model.likelihood": LIKELIHOODS,
    "model.vae": NETWORKS,
    "optim.vae": OPTIMIZERS,
    "terms.vae": terms_of(),
}
TEMPERATURE = Option(1.0, "standard deviation of the latents that are drawn", low=0.0, high=10.0)
_SAMPLE_ROWS = 8


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a VAE.

    Args:
      config: complete, see `SECTIONS`.
      spec: of data with a stream "image"; labels are not used.

    Raises:
      UserError: a field outside its range.
    """
    beta = build("task", config.task, RULES)
    latent = build("model", config.model, LATENTS)
    likelihood = build("model.likelihood", config.model.likelihood, LIKELIHOODS)
    shape = tuple(spec.image_shape)
    vae = build("model.vae", config.model.vae, NETWORKS, image_shape=shape, latent=latent)
    inputs = (jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32),)
    check_network(
        "model.vae.name",
        config.model.vae.name,
        vae,
        (*inputs, jax.ShapeDtypeStruct((1, latent), jnp.float32)),
        fits=lambda shapes: shapes == [(1, *shape), (1, latent), (1, latent)],
        wanted=f"outputs {[1, *shape]}, mean and log variance {[1, latent]}",
        methods=("encode", "decode"),
    )
    net = make_net(vae, inputs, config.optim.vae, config.train)
    terms = make_terms("vae", config.terms.vae, SECTIONS["terms.vae"])
    update = make_update({"vae": net}, terms, microbatches=config.train.microbatches)

    def draw(keys: Key) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(key, (latent,)))(keys)

    def bound(apply: Callable[..., Any], images: jax.Array, keys: Key) -> Metrics:
        """Return loss and parts of the bound, [B] each, with one draw an image."""
        outputs, mean, log_variance = apply(images, draw(keys))
        reconstruction = likelihood.log_prob(outputs, images)
        kl = gaussian_kl(mean=mean, log_variance=log_variance)
        return {
            "loss": beta * kl - reconstruction,
            "elbo": reconstruction - kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }

    def init(key: Key) -> TrainState:
        start = {"vae": net.init(key)}
        return new_state(start, update.buffers(start))

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
            metrics = {name: x.mean() for name, x in bound(nets.vae, *inputs).items()}
            return metrics["loss"], Aux(metrics)

        images = batch["image"][0]
        key, terms_key = jax.random.split(key) if terms else (key, None)
        inputs = (images, example_keys(key, len(images)))
        return update(state, ("vae",), loss, inputs, key=terms_key, phase=phase)[:2]

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        variables = state.nets["vae"].variables("ema")
        apply = functools.partial(vae.apply, variables, train=False)
        return masked_sums(bound(apply, batch["image"], keys), batch["mask"])

    def latents(
        keys: Key, labels: jax.Array | None = None, *, temperature: float = 1.0, **_: Any
    ) -> jax.Array:
        """Draw z [N, latent] from N(0, temperature^2 I)."""
        if labels is not None:
            raise UserError("this VAE is unconditional: it takes no labels, leave them out")
        return temperature * draw(keys)

    def interpolate(start: jax.Array, end: jax.Array, place: jax.Array, along: str) -> jax.Array:
        """Move z [N, latent] along the sphere, from `start` at place [N] 0 to `end` at 1."""
        if along == "classes":
            raise UserError("--interpolate=classes: a VAE has none: use --interpolate=latents")
        return slerp(start, end, place)

    def generate(
        state: TrainState, latents: jax.Array, *, weights: str = "ema", **_: Any
    ) -> jax.Array:
        variables = state.nets["vae"].variables(weights)
        return likelihood.mean(vae.apply(variables, latents, train=False, method="decode"))

    def encode(
        state: TrainState, images: jax.Array, keys: Key, *, weights: str = "ema", **_: Any
    ) -> jax.Array:
        """Return the posterior's mean [N, latent]; `keys` are not used."""
        variables = state.nets["vae"].variables(weights)
        return vae.apply(variables, images, train=False, method="encode")[0]

    def reconstruct(
        state: TrainState,
        images: jax.Array,
        keys: Key,
        labels: jax.Array | None = None,
        *,
        weights: str = "ema",
        **_: Any,
    ) -> jax.Array:
        """Reconstruct images from the posterior's mean; `keys` and `labels` are not used."""
        outputs, _, _ = vae.apply(state.nets["vae"].variables(weights), images, train=False)
        return likelihood.mean(outputs)

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        images = batch["image"]
        columns = images.shape[0]
        keys = example_keys(key, _SAMPLE_ROWS * columns)
        samples = generate(state, latents(keys))
        return {
            "samples": samples.reshape(_SAMPLE_ROWS, columns, *samples.shape[1:]),
            "reconstructions": jnp.stack([images, reconstruct(state, images, keys[:columns])]),
        }

    return Task(
        name="vae",
        modules={"vae": vae},
        example_inputs={"vae": inputs},
        phase=lambda step: Phase(due=update.due(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        latents=latents,
        interpolate=interpolate,
        generate=generate,
        encode=encode,
        transforms={"reconstruct": Transform("decode the posterior's mean", reconstruct)},
        grids=grids,
        options={"weights": WEIGHTS, "temperature": TEMPERATURE},
        evaluations=make_evaluations(
            vae,
            image_shape=shape,
            latent=latent,
            likelihood=likelihood.name,
            scale=likelihood.scale,
            log_likelihood=likelihood.log_prob,
        ),
    )


def sections(config: ConfigDict) -> Sections:
    """Return what the sections of a VAE's config choose from."""
    return SECTIONS


def _check_width(width: int) -> None:
    if width < 1:
        raise UserError(f"model.vae.width={width}: at least 1")
