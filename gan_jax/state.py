"""TrainState: everything that changes during training, and nothing else, as one pytree of arrays.

What Orbax saves is this. Its tree never changes during a run: no optimizer objects, Python numbers,
configs or PRNG keys are inside, and nothing that matters to a resumed run lives elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from ml_collections import ConfigDict

from gan_jax import fsdp

AVERAGED = ("params", "batch_stats")
# Collections that a pass in training moves, for `module.apply(..., mutable=MUTABLE)`.
MUTABLE = ("batch_stats", "spectral")


class NetState(struct.PyTreeNode):
    """One network.

    Attributes:
      params: what its optimizer changes.
      extra: every other collection by name: "batch_stats", "spectral", ...
      opt_state: the optimizer's; () for a frozen network.
      ema: moving average of params *and* batch statistics, {"params": ..., "batch_stats": ...}: the
        statistics of the raw weights do not fit averaged weights. None where there is no average.
    """

    params: Any
    extra: Any
    opt_state: Any
    ema: Any

    def variables(self, weights: str = "raw") -> dict[str, Any]:
        """Return the collections for `module.apply`.

        Args:
          weights: "raw", or "ema" for the moving average (raw where the net keeps none).
        """
        raw = {"params": self.params, **self.extra}
        return raw if weights == "raw" or self.ema is None else {**raw, **self.ema}


class TrainState(struct.PyTreeNode):
    """The whole state of a run.

    Attributes:
      step: int32 scalar, updates done.
      position: uint32 scalar, training examples drawn so far (modulo 2^32).
      nets: networks by name: {"gen", "disc"} for a GAN, {"vae"} for a VAE.
      buffers: arrays that belong to no network: image pools, augmentation strength.
    """

    step: jax.Array
    position: jax.Array
    nets: dict[str, NetState]
    buffers: dict[str, Any]


def new_state(nets: Mapping[str, NetState], buffers: Mapping[str, Any] | None = None) -> TrainState:
    """Return a state at step 0."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        position=jnp.zeros((), jnp.uint32),
        nets=dict(nets),
        buffers=dict(buffers or {}),
    )


def init_net(
    module: nn.Module,
    key: jax.Array,
    inputs: tuple[jax.ShapeDtypeStruct, ...],
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    ema: bool = False,
    **kwargs: Any,
) -> NetState:
    """Initialise one network with its optimizer.

    Args:
      module: a Flax module.
      key: typed PRNG key.
      inputs: abstract inputs; initialisation sees zeros of that shape.
      optimizer: of this network.
      ema: whether to keep a moving average, which starts at the initial weights.
      **kwargs: passed to the module's `__call__`, such as `train=False`.
    """
    zeros = [jnp.zeros(x.shape, x.dtype) for x in inputs]
    extra = dict(module.init(key, *zeros, **kwargs))
    params = extra.pop("params")
    net = NetState(params=params, extra=extra, opt_state=optimizer.init(params), ema=None)
    # A copy, never an alias: the state is donated, and a buffer cannot be donated twice.
    return net.replace(ema=jax.tree.map(jnp.copy, averaged(net))) if ema else net


def averaged(net: NetState) -> dict[str, Any]:
    """Return the collections of a net that its moving average follows."""
    variables = net.variables()
    return {name: variables[name] for name in AVERAGED if name in variables}


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


def ema_decay_at(step: jax.Array, decay: float, start: int = 0) -> jax.Array:
    """Return the decay for this step: min(decay, (1 + step) / (10 + step)).

    The ramp (that of TensorFlow's ExponentialMovingAverage) lets the average leave the initial
    weights quickly, without a start step to tune.

    Args:
      step: int scalar, updates done before.
      decay: share of the old average that is kept in the end, in [0, 1).
      start: where above 0, the average is the weights themselves until that step and has the whole
        decay from there on, as BigGAN's author and StudioGAN have it.
    """
    if start:
        return jnp.where(step < start, 0.0, decay)
    step = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + step) / (10 + step))


def keeps_average(train: ConfigDict) -> bool:
    """Return whether a run's section `train` asks for moving averages of the weights."""
    return train.ema_decay > 0 or train.ema_half_life > 0


def ema_schedule(train: ConfigDict) -> Callable[[jax.Array], jax.Array]:
    """Return the decay of a run's moving averages by the step, see `ema_decay_at`.

    Args:
      train: the section of the config; a half-life, in images of a batch, comes before ema_decay.
    """
    decay = train.ema_decay
    if train.ema_half_life:
        decay = 0.5 ** (train.batch_size / train.ema_half_life)
    return functools.partial(ema_decay_at, decay=decay, start=train.ema_start)


def count_parameters(params: Any) -> int:
    """Return the number of scalars in a pytree of arrays or abstract arrays."""
    return sum(int(x.size) for x in jax.tree.leaves(params))
