"""Terms on what a discriminator says: how it may change, and how far it may go."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Averages = dict[str, jax.Array]


def consistency(*, logits: jax.Array, changed: jax.Array) -> jax.Array:
    """Return the squared difference of the logits of images and of changed ones.

    The change is one that should not matter: an augmentation of real images (CR, Zhang et al. 2019,
    arXiv:1910.12027), of generated ones too (bCR), or a small step in the latents (the
    discriminator's half of zCR; both Zhao et al. 2020, arXiv:2002.04724).

    Args:
      logits: [B, ...].
      changed: the same shape.

    Returns:
      The same shape.
    """
    return jnp.square(logits - changed)


def drift(*, logits: jax.Array) -> jax.Array:
    """Return the squared logits of real images (Karras et al. 2017, arXiv:1710.10196, A.1).

    A Wasserstein critic is free to add a constant; this keeps it near 0. The paper's weight is
    0.001.

    Args:
      logits: [B, ...].
    """
    return jnp.square(logits)


def lecam(*, real_logits: jax.Array, fake_logits: jax.Array, averages: Averages) -> jax.Array:
    """Return (D(x) - a_F)^2 + (D(G(z)) - a_R)^2 (Tseng et al. 2021, arXiv:2104.03310, equation 4).

    Each side is drawn towards the average that the other had, which bounds how sure the
    discriminator becomes of few data. (The authors' code counts only what is beyond the average.)

    Args:
      real_logits: [B, ...].
      fake_logits: the same shape.
      averages: see `current_averages`, {"real": a_R, "fake": a_F}, scalars.

    Returns:
      The same shape, one value a pair.
    """
    real = jnp.square(real_logits - averages["fake"])
    return real + jnp.square(fake_logits - averages["real"])


def moved_averages(averages: Averages, means: Averages, decay: float) -> Averages:
    """Return moving averages after one more batch, from 0 and still too near to it.

    Args:
      averages: so far.
      means: of this batch, on all devices; the same keys.
      decay: share of the old average that is kept, in [0, 1); the paper's is 0.99.
    """
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, averages, means)


def current_averages(
    averages: Averages, means: Averages, decay: float, updates: jax.Array | int
) -> Averages:
    """Return the averages that LeCam compares with: of all batches up to this one.

    Without the 0 that they start from (the correction of Adam's moments), as in the authors' code
    for StyleGAN2. (Theirs for BigGAN starts the term after 1,000 updates instead.)

    Args:
      averages: of the batches before, as of `moved_averages`.
      means: of this batch, which no gradient flows through; the same keys.
      decay: as of `moved_averages`.
      updates: batches before this one.
    """
    means = jax.lax.stop_gradient(means)
    share = 1 - decay ** (jnp.asarray(updates, jnp.float32) + 1)
    return jax.tree.map(lambda x: x / share, moved_averages(averages, means, decay))
