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
[-1, 1] scale with a fixed standard deviation `model.scale`; elbo may be positive.

Evaluations by name are in `evaluations`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
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

NETS = {"conv": (ConvEncoder, ConvDecoder), "mlp": (MLPEncoder, MLPDecoder)}
LIKELIHOODS = ("bernoulli", "gaussian")
TEMPERATURE = Option(1.0, "standard deviation of the latents that are drawn", low=0.0, high=10.0)
_SAMPLE_ROWS = 8


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a VAE.

    Args:
      config: reads `task.beta`, `model` (net, likelihood, scale, latent, width), `optim.vae`,
        `train` (steps, ema_decay) and `eval.grid`.
      spec: of data with a stream "image"; labels are not used.

    Raises:
      UserError: a field outside its range.
    """
    _check(config)
    model, beta = config.model, config.task.beta
    encoder, decoder = NETS[model.net]
    vae = VAE(
        encoder=encoder(latent=model.latent, width=model.width),
        decoder=decoder(image_shape=tuple(spec.image_shape), width=model.width),
    )
    inputs = (jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32),)
    net = make_net(vae, inputs, config.optim.vae, config.train)
    update = make_update({"vae": net}, microbatches=config.train.microbatches)
    bernoulli = model.likelihood == "bernoulli"

    def log_likelihood(outputs: jax.Array, images: jax.Array) -> jax.Array:
        if bernoulli:
            return bernoulli_log_likelihood(logits=outputs, target01=(images + 1) / 2)
        return gaussian_log_likelihood(mean=outputs, target=images, scale=model.scale)

    def to_images(outputs: jax.Array) -> jax.Array:
        """Return the mean of the likelihood, in [-1, 1]; that of a Gaussian is clipped to it."""
        return 2 * jax.nn.sigmoid(outputs) - 1 if bernoulli else jnp.clip(outputs, -1, 1)

    def draw(keys: Key) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(key, (model.latent,)))(keys)

    def bound(apply: Callable[..., Any], images: jax.Array, keys: Key) -> Metrics:
        """Return loss and parts of the bound, [B] each, with one draw an image."""
        outputs, mean, log_variance = apply(images, draw(keys))
        reconstruction = log_likelihood(outputs, images)
        kl = gaussian_kl(mean=mean, log_variance=log_variance)
        return {
            "loss": beta * kl - reconstruction,
            "elbo": reconstruction - kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }

    def init(key: Key) -> TrainState:
        return new_state({"vae": net.init(key)})

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        def loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
            metrics = {name: x.mean() for name, x in bound(nets.vae, *inputs).items()}
            return metrics["loss"], Aux(metrics)

        images = batch["image"][0]
        inputs = (images, example_keys(key, len(images)))
        return update(state, ("vae",), loss, inputs, phase=phase)[:2]

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
        return to_images(vae.apply(variables, latents, train=False, method="decode"))

    def encode(
        state: TrainState, images: jax.Array, keys: Key, *, weights: str = "ema", **_: Any
    ) -> jax.Array:
        """Return the posterior's mean [N, latent]; `keys` are not used."""
        variables = state.nets["vae"].variables(weights)
        return vae.apply(variables, images, train=False, method="encode")[0]

    def transform(
        state: TrainState, images: jax.Array, keys: Key, *, weights: str = "ema", **_: Any
    ) -> jax.Array:
        """Reconstruct images from the posterior's mean; `keys` are not used."""
        outputs, _, _ = vae.apply(state.nets["vae"].variables(weights), images, train=False)
        return to_images(outputs)

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        images = batch["image"]
        columns = images.shape[0]
        keys = example_keys(key, _SAMPLE_ROWS * columns)
        samples = generate(state, latents(keys))
        return {
            "samples": samples.reshape(_SAMPLE_ROWS, columns, *samples.shape[1:]),
            "reconstructions": jnp.stack([images, transform(state, images, keys[:columns])]),
        }

    return Task(
        name="vae",
        modules={"vae": vae},
        example_inputs={"vae": inputs},
        phase=lambda step: Phase(),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        latents=latents,
        interpolate=interpolate,
        generate=generate,
        encode=encode,
        transform=transform,
        grids=grids,
        options={"weights": WEIGHTS, "temperature": TEMPERATURE},
        evaluations=make_evaluations(
            vae,
            image_shape=tuple(spec.image_shape),
            latent=model.latent,
            likelihood=model.likelihood,
            scale=model.scale,
            log_likelihood=log_likelihood,
        ),
    )


def _check(config: ConfigDict) -> None:
    model = config.model
    check_choice("model.net", model.net, NETS)
    check_choice("model.likelihood", model.likelihood, LIKELIHOODS)
    for name in ("latent", "width"):
        if model[name] < 1:
            raise UserError(f"model.{name}={model[name]}: at least 1")
    if model.scale <= 0:
        raise UserError(f"model.scale={model.scale}: a standard deviation is above 0")
    if config.task.beta < 0:
        raise UserError(f"task.beta={config.task.beta}: at least 0; 1 is the plain VAE")
