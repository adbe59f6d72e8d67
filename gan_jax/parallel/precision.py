"""Mixed precision and rematerialisation of a network in training.

Both are set in one place, around `module.apply`, for any module: no layer has its own dtype, and
the blocks of a network only name their outputs (`block_output`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

_BLOCK = "block_output"


def block_output(x: jax.Array) -> jax.Array:
    """Name the output of a block: rematerialisation keeps it, and nothing inside the block."""
    return checkpoint_name(x, _BLOCK)


def training_apply(module: nn.Module, *, precision: str, remat: bool) -> Callable[..., Any]:
    """Return `module.apply` with the precision and rematerialisation of a train step.

    Args:
      module: the network.
      precision: "float32"; or "bfloat16": parameters and inputs are rounded on entry and outputs
        are cast back to float32, so that losses, penalties and gradients are float32. Layers that
        compute statistics do so in float32, and their collections are never rounded.
      remat: keep only the outputs of blocks, and recompute everything in between in the backward
        pass (arXiv:1604.06174): less memory, about a third more arithmetic.

    Returns:
      A function of the same arguments; those that are not arrays are static.
    """
    if precision == "float32" and not remat:
        return module.apply

    def apply(variables: Any, *args: Any, **kwargs: Any) -> Any:
        def run(variables: Any, args: Any) -> Any:
            if precision == "float32":
                return module.apply(variables, *args, **kwargs)
            rounded = {**variables, "params": _cast(variables["params"], jnp.bfloat16)}
            found = module.apply(rounded, *_cast(args, jnp.bfloat16), **kwargs)
            if kwargs.get("mutable", False) is not False:
                return _cast(found[0], jnp.float32), found[1]
            return _cast(found, jnp.float32)

        if remat:
            policy = jax.checkpoint_policies.save_only_these_names(_BLOCK)
            return jax.checkpoint(run, policy=policy)(variables, args)
        return run(variables, args)

    return apply


def _cast(tree: Any, dtype: Any) -> Any:
    floating = lambda x: hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda x: x.astype(dtype) if floating(x) else x, tree)
