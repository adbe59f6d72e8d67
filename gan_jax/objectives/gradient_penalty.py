"""Penalties on the gradient of a critic with respect to its input.

A penalty has three parts, each a function here: the images where the gradient is taken
(`interpolates`, `perturbed`, or the real or generated images themselves), the norm of the gradient
(`input_gradient_norm`), and a penalty of this norm (`one_centred`, `zero_centred`, `one_sided`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.parallel.axes import axis_mean

Critic = Callable[[jax.Array], jax.Array]


def interpolates(*, real: jax.Array, fake: jax.Array, keys: jax.Array) -> jax.Array:
    """Return one random point on the line between each real image and a generated one.

    Args:
      real: [B, ...].
      fake: the same shape.
      keys: typed keys [B], from `axes.example_keys`; each draws the weight of the real image, in
        [0, 1) (arXiv:1704.00028, algorithm 1).
    """
    share = jax.vmap(jax.random.uniform)(keys).astype(real.dtype)
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    return share * real + (1 - share) * fake


def perturbed(*, real: jax.Array, keys: jax.Array) -> jax.Array:
    """Return one random point near each real image: DRAGAN's (Kodali et al. 2017).

    x + share * (std / 2) * u, with u uniform in [0, 1) per pixel and channel, share uniform in
    [0, 1) per image, and std the standard deviation of all values of the batch, on all devices: as
    in the authors' code for MNIST. (The paper, arXiv:1705.07215, adds normal noise of a scale to be
    tuned.)

    Args:
      real: [B, ...].
      keys: typed keys [B], used for nothing else.
    """
    mean, square = axis_mean((real.mean(), jnp.square(real).mean()))
    spread = jnp.sqrt(jax.nn.relu(square - jnp.square(mean)))

    def noise(key: jax.Array) -> jax.Array:
        share_key, noise_key = jax.random.split(key)
        return jax.random.uniform(share_key) * jax.random.uniform(noise_key, real.shape[1:])

    return real + 0.5 * spread * jax.vmap(noise)(keys).astype(real.dtype)


def input_gradient_square(*, critic: Critic, images: jax.Array) -> jax.Array:
    """Return the squared Euclidean norm of each image's gradient of its own logit.

    Args:
      critic: images [B, ...] -> logits [B, ...]; an image's logits must depend on this image only
        (no BatchNorm), as the gradient is taken of the sum over the batch.
      images: [B, ...].

    Returns:
      [B] float32.
    """
    gradient = jax.grad(lambda x: critic(x).astype(jnp.float32).sum())(images)
    return jnp.square(gradient.astype(jnp.float32)).reshape(len(images), -1).sum(-1)


def input_gradient_norm(*, critic: Critic, images: jax.Array) -> jax.Array:
    """Return the square root of `input_gradient_square`.

    Args:
      critic: as for `input_gradient_square`.
      images: [B, ...].

    Returns:
      [B] float32; differentiable, with a derivative of 0 where the gradient is 0.
    """
    square = input_gradient_square(critic=critic, images=images)
    # The derivative of a root at 0 is infinite, and infinite times 0 would be nan.
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def one_centred(norm: jax.Array) -> jax.Array:
    """Return (norm - 1)^2: the gradient of an optimal Wasserstein critic has norm 1."""
    return jnp.square(norm - 1)


def one_sided(norm: jax.Array) -> jax.Array:
    """Return max(0, norm - 1)^2, no penalty below 1 (Petzka et al. 2017, arXiv:1709.08894)."""
    return jnp.square(jax.nn.relu(norm - 1))


def zero_centred(norm: jax.Array) -> jax.Array:
    """Return norm^2: a critic is flat once both distributions agree (arXiv:1902.03984)."""
    return jnp.square(norm)


def gradient_penalty(
    *,
    critic: Critic,
    real: jax.Array,
    fake: jax.Array,
    keys: jax.Array,
    target: Callable[[jax.Array], jax.Array] = one_centred,
) -> jax.Array:
    """Return the penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, section 4).

    Args:
      critic: as for `input_gradient_square`.
      real: images [B, ...].
      fake: the same shape.
      keys: typed keys [B], as for `interpolates`.
      target: penalty of the gradient norm.

    Returns:
      [B], by default (|gradient| - 1)^2; without the paper's weight of 10.
    """
    images = interpolates(real=real, fake=fake, keys=keys)
    return target(input_gradient_norm(critic=critic, images=images))


def dragan(*, critic: Critic, real: jax.Array, keys: jax.Array) -> jax.Array:
    """Return the penalty of DRAGAN (arXiv:1705.07215): (|gradient| - 1)^2 near real images.

    Args:
      critic: as for `input_gradient_square`.
      real: images [B, ...].
      keys: typed keys [B], as for `perturbed`.

    Returns:
      [B], without the paper's weight of 10.
    """
    images = perturbed(real=real, keys=keys)
    return one_centred(input_gradient_norm(critic=critic, images=images))


def r1(*, critic: Critic, images: jax.Array) -> jax.Array:
    """Return |gradient|^2 / 2 at the images themselves (Mescheder et al. 2018, arXiv:1801.04406).

    R1 for real images, R2 for generated ones; without the paper's gamma.

    Args:
      critic: as for `input_gradient_square`.
      images: [B, ...], real or generated.

    Returns:
      [B].
    """
    return input_gradient_square(critic=critic, images=images) / 2
