"""TrainState: everything that changes during training, and nothing else, as one pytree of arrays.

This is what Orbax saves. Its tree structure is constant during a run; it contains no optimizer
objects, Python numbers, configs or PRNG keys, and a resumed run needs nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from gan_jax.core.errors import UserError

FITTED = "fitted"  # key in `TrainState.buffers` of a loaded run: the arrays of `--mode=fit`
AVERAGED = ("params", "batch_stats")
# Collections that the layers of this package update in a forward pass in training.
MUTABLE = ("batch_stats", "spectral")


class NetState(struct.PyTreeNode):
    """One network.

    Attributes:
      params: the weights that its optimizer updates.
      extra: every other collection by name: "batch_stats", "spectral", ...
      opt_state: state of the optimizer; () for a frozen network.
      ema: moving average of params *and* batch statistics, {"params": ..., "batch_stats": ...}: the
        statistics of the raw weights do not fit averaged weights. None if no average is kept.
    """

    params: Any
    extra: Any
    opt_state: Any
    ema: Any

    def variables(self, weights: str = "raw") -> dict[str, Any]:
        """Return the collections for `module.apply`.

        Args:
          weights: "raw", or "ema" for the moving average (raw if the network keeps none).
        """
        raw = {"params": self.params, **self.extra}
        return raw if weights == "raw" or self.ema is None else {**raw, **self.ema}


class TrainState(struct.PyTreeNode):
    """The whole state of a run.

    Attributes:
      step: int32 scalar, training steps done.
      position: uint32 scalar, training examples drawn so far (modulo 2^32).
      nets: networks by name: {"gen", "disc"} for a GAN, {"encoder", "decoder"} for a VAE.
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
      optimizer: the optimizer of this network.
      ema: whether to keep a moving average, which starts at the initial weights.
      **kwargs: passed to the module's `__call__`, such as `train=False`.
    """
    zeros = [jnp.zeros(x.shape, x.dtype) for x in inputs]
    extra = dict(module.init(key, *zeros, **kwargs))
    params = extra.pop("params")
    net = NetState(params=params, extra=extra, opt_state=optimizer.init(params), ema=None)
    # A copy, never an alias: the state is donated, and a buffer cannot be donated twice.
    return net.replace(ema=jax.tree.map(jnp.copy, averaged(net))) if ema else net


def fitted(state: TrainState, name: str) -> Mapping[str, jax.Array]:
    """Return the arrays that `--mode=fit` stored for this checkpoint under the name of the fit.

    Raises:
      UserError: `--mode=fit` has not been run for this checkpoint.
    """
    found = state.buffers.get(FITTED, {})
    if name not in found:
        raise UserError(
            f"this needs what --mode=fit finds ({name}), and there is none of this checkpoint: run"
            " --mode=fit --workdir=RUN first"
        )
    return found[name]


def role(network: str) -> str:
    """Return the config name that networks of one kind share: gen for gen0 and gen_ab."""
    return re.split(r"[_0-9]", network)[0]


def averaged(net: NetState) -> dict[str, Any]:
    """Return the collections of a network that its moving average tracks."""
    variables = net.variables()
    return {name: variables[name] for name in AVERAGED if name in variables}


def count_parameters(params: Any) -> int:
    """Return the number of scalars in a pytree of arrays or abstract arrays."""
    return sum(int(x.size) for x in jax.tree.leaves(params))
