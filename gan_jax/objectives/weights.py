"""Regularisers and constraints of a network's weights."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp


def clip_weights(params: Any, limit: float) -> Any:
    """Clip every parameter to [-limit, limit] (arXiv:1701.07875, algorithm 1)."""
    return jax.tree.map(lambda x: jnp.clip(x, -limit, limit), params)


def frozen(params: Any, stages: int) -> Any:
    """Return parameters with `stop_gradient` on the first stages.

    FreezeD (Mo et al. 2020, arXiv:2002.10964): a discriminator transferred from another run keeps
    its stages next to the image. A stage consists of the layers with its number in their names,
    counted from 0: "down0" and "norm0", or "block0_conv_a".

    Args:
      params: of a network.
      stages: number of frozen stages.
    """

    def stop(path: tuple[Any, ...], x: jax.Array) -> jax.Array:
        number = stage_of(path[0].key)
        return jax.lax.stop_gradient(x) if number is not None and number < stages else x

    return jax.tree_util.tree_map_with_path(stop, params)


def stage_of(name: str) -> int | None:
    """Return the number in a layer's name, None for a layer without: "block1_conv_a" -> 1."""
    found = re.match(r"[a-z]+(\d+)", name)
    return int(found.group(1)) if found else None


def orthogonal(*, params: Any) -> jax.Array:
    """Return BigGAN's orthogonal regularisation, summed over all weights.

    The sum over weights of |W^T W * (1 - I)|_F^2 (Brock et al. 2018, arXiv:1809.11096): it
    constrains the angles between columns, not their lengths. W is [inputs of a pixel, output
    channels]; biases, scales and embeddings (tables with one entry per class) are left out. The
    paper applies it to the generator with weight 1e-4. (The authors' PyTorch code uses half of this
    sum's gradient.)

    Args:
      params: of a network.

    Returns:
      A scalar.
    """

    def off_diagonal(path: tuple[Any, ...], x: jax.Array) -> jax.Array:
        if path[-1].key != "kernel":
            return jnp.zeros(())
        w = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
        gram = jnp.matmul(w.T, w, precision="highest")
        return jnp.square(gram - jnp.diag(jnp.diag(gram))).sum()

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(off_diagonal, params)))


def historical(*, params: Any, average: Any) -> jax.Array:
    """Return |params - average|^2 (Salimans et al. 2016, arXiv:1606.03498, section 3.3).

    Args:
      params: of a network.
      average: the same tree, see `updated_history`.

    Returns:
      A scalar.
    """
    squares = jax.tree.map(lambda x, y: jnp.square(x - y).sum(), params, average)
    return sum(jax.tree.leaves(squares))


def updated_history(average: Any, params: Any, step: jax.Array) -> Any:
    """Return the mean of the parameters of all steps so far, 1/t sum_i params_i.

    Args:
      average: of the first `step` steps.
      params: at this one.
      step: int scalar, from 0.
    """
    share = 1 / (step.astype(jnp.float32) + 1)
    return jax.tree.map(lambda old, new: old + share * (new - old), average, params)
