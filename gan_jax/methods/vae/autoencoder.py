"""What methods with an encoder and a decoder share: sections, networks, latents, use, the Task.

Such a method is an objective, a function of the two networks and of a batch, and little else:

    def make_task(config, spec):
        auto = make_autoencoder(config, spec)

        def objective(nets, images, keys):
            posterior = auto.posterior(nets, images)
            outputs = nets.decoder(posterior.sample(keys))
            ...
            return loss, metrics

        return auto.task("name", objective)

Encoder and decoder are two networks of the state, `nets["encoder"]` and `nets["decoder"]`, with
sections, optimizers and terms of their own; either may have statistics.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.keys import fold_in_each
from gan_jax.core.metric_names import log_name
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, fitted, new_state
from gan_jax.core.task import Batch, Fit, Key, Metrics, Phase, Task, Transform
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.networks import GENERATORS
from gan_jax.methods.roles import check_network
from gan_jax.methods.terms import make_terms, terms_of
from gan_jax.methods.update import Aux, Net, Nets, Update, make_net, make_update
from gan_jax.methods.vae.evaluations import make_evaluations
from gan_jax.metrics.path_length import slerp
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.models.vae import (
    ENCODER_NORMS,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    conv_stages,
)
from gan_jax.objectives.bounds import log_weights
from gan_jax.objectives.distributions import Bernoulli, Normal, PixelNormal, standard_normal
from gan_jax.parallel.axes import example_keys
from gan_jax.training.optimizers import OPTIMIZERS

Likelihood = Callable[[jax.Array], Bernoulli | PixelNormal]
Loss = jax.Array | Mapping[str, jax.Array]
Objective = Callable[[Any, jax.Array, Key], tuple[Loss, Metrics]]
Shape = tuple[int, int, int]


def conv_encoder(
    *, image_shape: Shape, latent: int, width: int = 32, norm: str = "none"
) -> nn.Module:
    """Return a convolutional encoder for sides divisible by 4.

    Args:
      image_shape: of the data.
      latent: dimensions.
      width: channels of the first convolution.
      norm: none | batch.
    """
    _check_width("encoder", width)
    check_choice("model.encoder.norm", norm, ENCODER_NORMS)
    conv_stages(*image_shape[:2])
    return ConvEncoder(latent, width, norm)


def conv_decoder(*, image_shape: Shape, width: int = 32) -> nn.Module:
    """Return a convolutional decoder; `width` channels before the last convolution."""
    _check_width("decoder", width)
    conv_stages(*image_shape[:2])
    return ConvDecoder(image_shape, width)


def mlp_encoder(*, latent: int, width: int = 512) -> nn.Module:
    """Return an encoder of dense layers, for images of any size; `width` units of a layer."""
    _check_width("encoder", width)
    return MLPEncoder(latent, width)


def mlp_decoder(*, image_shape: Shape, width: int = 512) -> nn.Module:
    """Return a decoder of dense layers; `width` units of a hidden layer."""
    _check_width("decoder", width)
    return MLPDecoder(image_shape, width)


def tanh_mlp_encoder(*, latent: int, width: int = 200) -> nn.Module:
    """Return the encoder of arXiv:1509.00519, two layers of `width` units with tanh."""
    _check_width("encoder", width)
    return MLPEncoder(latent, width, tanh=True)


def tanh_mlp_decoder(*, image_shape: Shape, width: int = 200) -> nn.Module:
    """Return the decoder of arXiv:1509.00519, two layers of `width` units with tanh."""
    _check_width("decoder", width)
    return MLPDecoder(image_shape, width, tanh=True)


def bernoulli() -> Likelihood:
    """Return the likelihood of grey levels (x + 1) / 2 in [0, 1], of logits."""
    return Bernoulli


def gaussian(*, scale: float = 0.2) -> Likelihood:
    """Return a Gaussian likelihood of pixels in [-1, 1], with `scale` as standard deviation."""
    if scale <= 0:
        raise UserError(f"model.likelihood.scale={scale}: a standard deviation is above 0")
    return functools.partial(PixelNormal, scale=scale)


def latents_of(*, latent: int = 20) -> int:
    """Return the dimensions of the latents."""
    if latent < 1:
        raise UserError(f"model.latent={latent}: at least 1")
    return latent


ENCODERS = Choice(
    {"conv": conv_encoder, "mlp": mlp_encoder, "tanh_mlp": tanh_mlp_encoder},
    ("image_shape", "latent"),
    "conv",
    nn.Module,
)
# Generators of GANs end in tanh: their outputs are images. Those that grow, or that see a coarser
# image, have a training of their own.
GENERATED = ("dcgan", "tutorial", "resnet", "biggan", "biggan_deep", "conv2014")
DECODERS = Choice(
    {
        "conv": conv_decoder,
        "mlp": mlp_decoder,
        "tanh_mlp": tanh_mlp_decoder,
        **{name: GENERATORS.factories[name] for name in GENERATED},
    },
    ("image_shape", "latent", "classes", "codes"),
    "conv",
    nn.Module,
)
LIKELIHOODS = Choice({"bernoulli": bernoulli, "gaussian": gaussian}, default="gaussian")
LATENTS = Choice({"": latents_of})
NETWORK_SECTIONS: Sections = {
    "model": LATENTS,
    "model.encoder": ENCODERS,
    "model.decoder": DECODERS,
    "optim.encoder": OPTIMIZERS,
    "optim.decoder": OPTIMIZERS,
    "terms.encoder": terms_of(),
    "terms.decoder": terms_of(),
}
SECTIONS: Sections = {**NETWORK_SECTIONS, "model.likelihood": LIKELIHOODS}  # without "task"
MOMENTS = "latents"  # what `--mode=fit` finds
PRIOR = Option(
    "standard",
    "standard: N(0, I); fitted: the normal distribution of the training images' latents, which"
    " --mode=fit finds (arXiv:1903.12436, section 4)",
    choices=("standard", "fitted"),
)
TEMPERATURE = Option(1.0, "standard deviation of the latents that are drawn", low=0.0, high=10.0)
_SAMPLE_ROWS = 8


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """An encoder and a decoder as a config trains and uses them, and the networks beside them.

    Attributes:
      nets: "encoder", "decoder", and others.
      update: of all of them.
      image_shape: (H, W, C).
      latent: dimensions.
      likelihood: outputs of the decoder -> distribution of images; None where outputs are images.
      classes: of the data, for what is fitted after training; 0 for none.
    """

    nets: Mapping[str, Net]
    update: Update
    image_shape: Shape
    latent: int
    likelihood: Likelihood | None
    classes: int = 0

    @property
    def prior(self) -> Normal:
        """Return N(0, I) of one latent."""
        return standard_normal(self.latent)

    def posterior(self, nets: Any, images: jax.Array) -> Normal:
        """Return q(z|x) of images [B, H, W, C]."""
        return Normal(*nets.encoder(images))

    def log_weights(self, nets: Any, images: jax.Array, keys: Key, samples: int) -> jax.Array:
        """Return log p(x|z) + log p(z) - log q(z|x) of K draws of z from q(z|x), [K, B], nats.

        Args:
          nets: as an objective is given them.
          images: x, [B, H, W, C].
          keys: [B]; draw number k of an image is from fold_in(key, k).
          samples: K.
        """
        numbered = lambda k: jax.vmap(lambda key: jax.random.fold_in(key, k))(keys)  # noqa: E731
        keys = jax.vmap(numbered)(jnp.arange(samples))
        return log_weights(
            posterior=self.posterior(nets, images),
            prior=self.prior,
            decode=nets.decoder,
            likelihoods={"x": lambda outputs: self.likelihood(outputs).log_prob(images)},
            keys=keys,
        )["x"]

    def task(self, name: str, objective: Objective) -> Task:
        """Return the task of a method.

        Args:
          name: of the method.
          objective: (nets, images [B, H, W, C], keys [B]) -> (loss, metrics): one value an example
            each. `nets.NAME(...)` passes a network, in training or in use; the loss is what all
            networks minimise, or {name: loss} of each network. Metrics are logged and evaluated
            beside "loss" or "loss/NAME".
        """
        nets, update = self.nets, self.update

        def named(nets: Any, images: jax.Array, keys: Key) -> tuple[Loss, Metrics]:
            loss, metrics = objective(nets, images, keys)
            several = isinstance(loss, Mapping)
            losses = (
                {log_name("loss", k): x for k, x in loss.items()} if several else {"loss": loss}
            )
            return loss, {**losses, **metrics}

        def init(key: Key) -> TrainState:
            keys = jax.random.split(key, len(nets))
            start = {n: net.init(k) for (n, net), k in zip(nets.items(), keys, strict=True)}
            return new_state(start, update.buffers(start))

        def train_step(
            phase: Phase, state: TrainState, batch: Batch, key: Key
        ) -> tuple[TrainState, Metrics]:
            def loss(nets: Nets, inputs: Any) -> tuple[Any, Aux]:
                found, metrics = named(nets, *inputs)
                return jax.tree.map(jnp.mean, found), Aux(jax.tree.map(jnp.mean, metrics))

            images = batch["image"][0]
            key, terms_key = jax.random.split(key) if update.terms else (key, None)
            inputs = (images, example_keys(key, len(images)))
            return update(state, tuple(nets), loss, inputs, key=terms_key, phase=phase)[:2]

        def in_use(state: TrainState, weights: str = "ema") -> Any:
            """Return the networks as an objective is given them, with the weights in use."""

            def passes(name: str) -> Callable[..., Any]:
                variables = state.nets[name].variables(weights)
                return functools.partial(nets[name].module.apply, variables, train=False)

            return types.SimpleNamespace(**{name: passes(name) for name in nets})

        def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
            keys = fold_in_each(key, batch["index"])
            return masked_sums(named(in_use(state), batch["image"], keys)[1], batch["mask"])

        def latents(
            keys: Key, labels: jax.Array | None = None, *, temperature: float = 1.0, **_: Any
        ) -> jax.Array:
            """Draw z [N, latent] from N(0, temperature^2 I)."""
            if labels is not None:
                raise UserError("this VAE is unconditional: it takes no labels, leave them out")
            return temperature * self.prior.sample(keys)

        def interpolate(
            start: jax.Array, end: jax.Array, place: jax.Array, along: str
        ) -> jax.Array:
            """Move z [N, latent] along the sphere, from `start` at place [N] 0 to `end` at 1."""
            if along == "classes":
                raise UserError("--interpolate=classes: a VAE has none: use --interpolate=latents")
            return slerp(start, end, place)

        def decode(state: TrainState, latents: jax.Array, weights: str) -> jax.Array:
            outputs = in_use(state, weights).decoder(latents)
            made = outputs if self.likelihood is None else self.likelihood(outputs).mean
            return jnp.clip(made, -1, 1)

        def generate(
            state: TrainState,
            latents: jax.Array,
            *,
            weights: str = "ema",
            prior: str = "standard",
            **_: Any,
        ) -> jax.Array:
            if prior == "fitted":
                moments = fitted(state, MOMENTS)
                latents = moments["mean"] + latents @ moments["factor"].T
            return decode(state, latents, weights)

        def encode(
            state: TrainState, images: jax.Array, keys: Key, *, weights: str = "ema", **_: Any
        ) -> jax.Array:
            """Return the posterior's mean [N, latent]; `keys` are not used."""
            return self.posterior(in_use(state, weights), images).mean

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
            return decode(state, encode(state, images, keys, weights=weights), weights)

        def toward(
            state: TrainState,
            images: jax.Array,
            keys: Key,
            labels: jax.Array,
            *,
            weights: str = "ema",
            **_: Any,
        ) -> jax.Array:
            """Move an image's latent by what its class differs in from all (arXiv:1609.04468)."""
            moments = fitted(state, MOMENTS)
            moved = moments["class_means"][labels] - moments["mean"]
            latents = encode(state, images, keys, weights=weights)
            return decode(state, latents + moved, weights)

        def rows(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
            """Return a draw of the posterior of each image, and its class."""
            posterior = self.posterior(in_use(state), batch["image"])
            drawn = {"latents": posterior.sample(fold_in_each(key, batch["index"]))}
            return {**drawn, "label": batch["label"]} if self.classes else drawn

        transforms = {"reconstruct": Transform("decode the posterior's mean", reconstruct)}
        if self.classes:
            what = "move the latent toward a class (after --mode=fit)"
            transforms["toward"] = Transform(what, toward, paired=False, takes_labels=True)

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
            name=name,
            **update.networks,
            phase=lambda step: Phase(due=update.due(step)),
            init=init,
            train_step=train_step,
            eval_step=eval_step,
            eval_metrics=means,
            latents=latents,
            interpolate=interpolate,
            generate=generate,
            encode=encode,
            transforms=transforms,
            fits={
                MOMENTS: Fit(
                    "mean and covariance of the latents of the training images, means of classes",
                    rows,
                    functools.partial(latent_moments, classes=self.classes),
                )
            },
            grids=grids,
            options={"weights": WEIGHTS, "temperature": TEMPERATURE, "prior": PRIOR},
            evaluations=make_evaluations(
                nets["encoder"].module,
                nets["decoder"].module,
                image_shape=self.image_shape,
                latent=self.latent,
                likelihood=self.likelihood,
            ),
        )


def make_autoencoder(
    config: ConfigDict, spec: DataSpec, others: Mapping[str, Net] | None = None
) -> Autoencoder:
    """Build encoder, decoder and their update.

    Args:
      config: complete, see `SECTIONS`; without `model.likelihood` outputs are images.
      spec: of data with a stream "image"; labels are not used.
      others: networks that are updated with them, by name.

    Raises:
      UserError: a field outside its range, or networks that do not fit.
    """
    model, shape = config.model, tuple(spec.image_shape)
    latent = build("model", model, LATENTS)
    likelihood = None
    if "likelihood" in model:
        likelihood = build("model.likelihood", model.likelihood, LIKELIHOODS)
    if likelihood is Bernoulli and model.decoder.name in GENERATED:
        raise UserError(
            f"model.decoder.name={model.decoder.name} ends in tanh, and a Bernoulli likelihood"
            " takes logits: set model.likelihood=gaussian, or another model.decoder"
        )
    given = dict(image_shape=shape, latent=latent, classes=0, codes=Codes())
    modules = {
        "encoder": build("model.encoder", model.encoder, ENCODERS, **given),
        "decoder": build("model.decoder", model.decoder, DECODERS, **given),
    }
    inputs = {
        "encoder": (jax.ShapeDtypeStruct((1, *shape), jnp.float32),),
        "decoder": (jax.ShapeDtypeStruct((1, latent), jnp.float32),),
    }
    wanted = {
        "encoder": ([(1, latent)] * 2, f"mean and log variance {[1, latent]}"),
        "decoder": ([(1, *shape)], f"outputs {[1, *shape]}"),
    }
    nets = {}
    for name, module in modules.items():
        shapes, words = wanted[name]
        check_network(
            f"model.{name}.name",
            model[name].name,
            module,
            inputs[name],
            fits=lambda found, shapes=shapes: found == shapes,
            wanted=words,
        )
        nets[name] = make_net(module, inputs[name], config.optim[name], config.train)
    nets |= others or {}
    terms = {}
    for name in nets:
        terms |= make_terms(name, config.terms[name], terms_of())
    update = make_update(nets, terms, microbatches=config.train.microbatches)
    return Autoencoder(nets, update, shape, latent, likelihood, spec.num_classes)


def latent_moments(rows: Mapping[str, np.ndarray], *, classes: int) -> dict[str, np.ndarray]:
    """Return the moments of latents.

    Args:
      rows: "latents" [N, D], and with classes "label" int [N].
      classes: 0 for none; each has an example.

    Returns:
      "mean" [D]; "factor" [D, D], lower triangular, whose product with its transpose is the
      covariance; and with classes "class_means" [classes, D]. float32.
    """
    latents = rows["latents"].astype(np.float64)
    covariance = np.atleast_2d(np.cov(latents, rowvar=False, bias=True))
    # A latent that never moves has a variance of 0: as good as none.
    factor = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
    found = {"mean": latents.mean(0), "factor": factor}
    if classes:
        means = [latents[rows["label"] == label].mean(0) for label in range(classes)]
        found["class_means"] = np.stack(means)
    return {name: array.astype(np.float32) for name, array in found.items()}


def _check_width(network: str, width: int) -> None:
    if width < 1:
        raise UserError(f"model.{network}.width={width}: at least 1")
