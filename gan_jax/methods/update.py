"""One optimizer step of a network."""

from __future__ import annotations

from typing import Any

import jax
import optax

from gan_jax.core.state import NetState, averaged
from gan_jax.parallel import fsdp


def apply_gradients(
    net: NetState,
    gradients: Any,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    extra: Any = None,
    ema_decay: jax.Array | float = 0.0,
) -> tuple[NetState, jax.Array]:
    """Take one optimizer step and move the average along.

    The gradients of a network cross the devices here, once an update.

    Args:
      net: the network.
      gradients: like `net.params`; of the mean loss over the batch at hand.
      optimizer: the one that made `net.opt_state`; it is told `global_norm`, the gradient's.
      extra: new mutable collections from `module.apply(..., mutable=...)`; those that are not
        given stay.
      ema_decay: share of the old average that is kept, in [0, 1).

    Returns:
      The network after the step, and the L2 norm of the whole gradient before any clipping, for the
      metric "grad_norm/NET".
    """
    gradients = fsdp.reduce_gradients(gradients)
    mine = fsdp.own(net.params)
    norm = fsdp.global_norm(gradients, like=net.params)
    updates, opt_state = optimizer.update(gradients, net.opt_state, mine, global_norm=norm)
    mine = optax.apply_updates(mine, updates)
    params = fsdp.gather(mine, like=net.params)
    net = net.replace(params=params, opt_state=opt_state, extra={**net.extra, **(extra or {})})
    if net.ema is None:
        return net, norm
    mix = lambda old, new: ema_decay * old + (1 - ema_decay) * new  # noqa: E731
    # The average is in shards, as what it follows.
    ema = jax.tree.map(mix, net.ema, averaged(net.replace(params=mine)))
    return net.replace(ema=ema), norm
