"""TrainState: everything that changes during training, and nothing else, as one pytree of arrays.

What Orbax saves is this. Its tree never changes during a run: no optimizer objects, Python numbers,
configs or PRNG keys are inside, and nothing that matters to a resumed run lives elsewhere.
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

FITTED = "fitted"  # of `TrainState.buffers` where a run is used: arrays of `--mode=fit`
AVERAGED = ("params", "batch_stats")
# Collections that layers of this package move in training.
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


def fitted(state: TrainState, name: str) -> Mapping[str, jax.Array]:
    """Return what `--mode=fit` found for this checkpoint, by the name of the fit.

    Raises:
      UserError: it has not been run for it.
    """
    found = state.buffers.get(FITTED, {})
    if name not in found:
        raise UserError(
            f"this needs what --mode=fit finds ({name}), and there is none of this checkpoint: run"
            " --mode=fit --workdir=RUN first"
        )
    return found[name]


def role(network: str) -> str:
    """Return what several networks of one kind are called in a config: gen of gen0 or gen_ab."""
    return re.split(r"[_0-9]", network)[0]


def averaged(net: NetState) -> dict[str, Any]:
    """Return the collections of a net that its moving average follows."""
    variables = net.variables()
    return {name: variables[name] for name in AVERAGED if name in variables}


def count_parameters(params: Any) -> int:
    """Return the number of scalars in a pytree of arrays or abstract arrays."""
    return sum(int(x.size) for x in jax.tree.leaves(params))
