"""Contrastive losses between the embeddings of a whole batch, over all devices; per example.

Embeddings are normalised to length 1 here. Each example is compared with all others of its batch;
with microbatches (`gan_jax.parallel.microbatches`), with those of its microbatch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.parallel.axes import axis_gather, axis_index


def conditional_contrastive(
    *, embeddings: jax.Array, proxies: jax.Array, labels: jax.Array, temperature: float
) -> jax.Array:
    """Return the 2C loss of ContraGAN (Kang & Park 2020, arXiv:2006.12681, equation 8).

    Pulls an image towards its class's proxy and the images of its class, and away from all others:
    with s the cosine over the temperature, -log of
    (exp s(x, proxy) + sum of exp s(x, same class)) / (exp s(x, proxy) + sum of exp s(x, others));
    both sums leave out the image itself.

    Args:
      embeddings: [B, D], any length.
      proxies: [B, D], of each image's class, any length.
      labels: int [B].
      temperature: positive.

    Returns:
      [B], nats.
    """
    mine, proxy = unit(embeddings), unit(proxies)
    to_proxy = (mine * proxy).sum(-1, keepdims=True) / temperature
    to_others = cosines(mine, axis_gather(mine)) / temperature
    other = ~_self_mask(len(mine), to_others.shape[1])
    same = labels[:, None] == axis_gather(labels)
    above = _log_sum_exp(to_proxy, to_others, other & same)
    return _log_sum_exp(to_proxy, to_others, other) - above


def data_to_data_cross_entropy(
    *,
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    temperature: float,
    positive_margin: float,
    negative_margin: float,
    shift_negatives: bool = False,
) -> jax.Array:
    """Return the D2D-CE loss of ReACGAN (Kang et al. 2021, arXiv:2111.01118, equation 9).

    The cross entropy of an image's cosine with its class's proxy against its cosines with images of
    other classes, both flat beyond a margin: with p = min(0, cos - m_p) and n = max(0, cos - m_n),
    -log(exp(p / t) / (exp(p / t) + sum over images of other classes of exp(n / t))).

    Args:
      embeddings: [B, D], any length.
      proxies: [B, D], of each image's class, any length.
      labels: int [B].
      temperature: t, positive.
      positive_margin: m_p, a cosine.
      negative_margin: m_n, a cosine.
      shift_negatives: compute what the authors' code does, which differs from equation 9: it
        subtracts from each n / t the largest (cos - m_n) / t of the row (other images of the same
        class included, treated as a constant) but nothing from p / t. This reduces the weight of
        the negatives by a factor that varies from row to row. The loss weight and temperature of
        the authors' configs were tuned with it.

    Returns:
      [B], nats.
    """
    mine, proxy = unit(embeddings), unit(proxies)
    positive = jnp.minimum((mine * proxy).sum(-1, keepdims=True) - positive_margin, 0)
    above = cosines(mine, axis_gather(mine)) - negative_margin
    negative = jax.nn.relu(above)
    if shift_negatives:
        other = ~_self_mask(len(mine), above.shape[1])
        largest = above.max(1, keepdims=True, where=other, initial=-jnp.inf)
        negative = negative - jax.lax.stop_gradient(largest)
    different = labels[:, None] != axis_gather(labels)
    positive, negative = positive / temperature, negative / temperature
    return _log_sum_exp(positive, negative, different) - positive[:, 0]


def normalized_temperature_cross_entropy(
    *, first: jax.Array, second: jax.Array, temperature: float
) -> jax.Array:
    """Return the NT-Xent loss of SimCLR (Chen et al. 2020, arXiv:2002.05709).

    Args:
      first: [B, D], embeddings of one view of each image, any length.
      second: [B, D], embeddings of another view.
      temperature: positive.

    Returns:
      [B], nats, the mean of both views' losses; log(2 B - 1) if all embeddings are equal.
    """

    def one_way(mine: jax.Array, other: jax.Array) -> jax.Array:
        to_pair = (mine * other).sum(-1, keepdims=True) / temperature
        whole = jnp.concatenate([axis_gather(mine), axis_gather(other)])
        similar = cosines(mine, whole) / temperature
        itself = _self_mask(len(mine), len(whole) // 2)
        allowed = ~jnp.concatenate([itself, itself], 1)  # the pair is `to_pair`
        return _log_sum_exp(to_pair, similar, allowed) - to_pair[:, 0]

    first, second = unit(first), unit(second)
    return (one_way(first, second) + one_way(second, first)) / 2


def unit(x: jax.Array) -> jax.Array:
    """Scale vectors [..., D] to length 1 in float32; a zero vector stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def cosines(mine: jax.Array, others: jax.Array) -> jax.Array:
    """Return the inner products of all pairs, [B, D] and [N, D] -> [B, N], in full float32."""
    return jnp.matmul(mine, others.T, precision="highest")


def _self_mask(size: int, whole: int) -> jax.Array:
    """Return a mask [size, whole], true where this device's row is that column's example."""
    rows = axis_index() * size + jnp.arange(size)
    return rows[:, None] == jnp.arange(whole)


def _log_sum_exp(first: jax.Array, others: jax.Array, which: jax.Array) -> jax.Array:
    """Return log(exp(first) + sum of exp(others) where `which`), [B]."""
    terms = jnp.concatenate([first, others], 1)
    which = jnp.concatenate([jnp.ones_like(first, bool), which], 1)
    return jax.nn.logsumexp(terms, axis=1, where=which)
