"""Regularisers of a discriminator's logits: consistency, drift, LeCam."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Averages = dict[str, jax.Array]


def consistency(*, logits: jax.Array, changed: jax.Array) -> jax.Array:
    """Return the squared difference between the logits of images and of their changed versions.

    The change should not matter: an augmentation of real images (CR, Zhang et al. 2019,
    arXiv:1910.12027), of generated ones too (bCR), or a small step in the latents (zCR's
    discriminator term; bCR and zCR are by Zhao et al. 2020, arXiv:2002.04724).

    Args:
      logits: [B, ...].
      changed: the same shape.

    Returns:
      The same shape.
    """
    return jnp.square(logits - changed)


def drift(*, logits: jax.Array) -> jax.Array:
    """Return the squared logits of real images (Karras et al. 2017, arXiv:1710.10196, A.1).

    A Wasserstein critic is defined up to a constant; this keeps it near 0. The paper's weight is
    0.001.

    Args:
      logits: [B, ...].
    """
    return jnp.square(logits)


def lecam(*, real_logits: jax.Array, fake_logits: jax.Array, averages: Averages) -> jax.Array:
    """Return (D(x) - a_F)^2 + (D(G(z)) - a_R)^2 (Tseng et al. 2021, arXiv:2104.03310, equation 4).

    Pulls the logits of each kind of images towards the moving average of the other kind, which
    bounds the discriminator's confidence on few data. (The authors' code penalises only the part
    beyond the average.)

    Args:
      real_logits: [B, ...].
      fake_logits: the same shape.
      averages: see `current_averages`, {"real": a_R, "fake": a_F}, scalars.

    Returns:
      The same shape, one value per pair.
    """
    real = jnp.square(real_logits - averages["fake"])
    return real + jnp.square(fake_logits - averages["real"])


def updated_averages(averages: Averages, means: Averages, decay: float) -> Averages:
    """Return moving averages after one more batch, starting from 0 without bias correction.

    Args:
      averages: so far.
      means: of this batch, on all devices; the same keys.
      decay: share of the old average that is kept, in [0, 1); the paper's is 0.99.
    """
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, averages, means)


def current_averages(
    averages: Averages, means: Averages, decay: float, updates: jax.Array | int
) -> Averages:
    """Return the averages that LeCam compares with, of all batches including the current one.

    Bias-corrected as Adam's moments are, as in the authors' code for StyleGAN2. (Their code for
    BigGAN starts the term after 1,000 updates instead.)

    Args:
      averages: of the batches before, as in `updated_averages`.
      means: of this batch, without gradient; the same keys.
      decay: as in `updated_averages`.
      updates: number of batches before this one.
    """
    means = jax.lax.stop_gradient(means)
    share = 1 - decay ** (jnp.asarray(updates, jnp.float32) + 1)
    return jax.tree.map(lambda x: x / share, updated_averages(averages, means, decay))
