"""Convert checkpoints with an older layout of the networks.

Schema 1 stored a VAE's encoder and decoder as one network, `nets["vae"]`, with one optimizer. These
functions convert the target of a restore to that layout, and the restored state to the current one.
The layout is read from the saved tree, since a resumed run holds checkpoints of both layouts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.core.state import NetState, TrainState

WHOLE, PARTS = "vae", ("encoder", "decoder")


def is_schema_1(saved: Collection[str], state: TrainState) -> bool:
    """Return whether the saved networks have the layout of schema 1 and `state` the current one.

    False for a state with buffers, since in schema 1 a term had one buffer for both networks.
    """
    return set(saved) == {WHOLE} and set(state.nets) == {*PARTS} and not state.buffers


def to_schema_1(state: TrainState) -> TrainState:
    """Convert a state, concrete or abstract, to the layout of schema 1."""
    one, other = (state.nets[name] for name in PARTS)
    return state.replace(nets={WHOLE: _join(one, other)})


def from_schema_1(state: TrainState) -> TrainState:
    """Convert a state of schema 1 to the current layout; both optimizers keep the update count."""
    return state.replace(nets={name: _part(state.nets[WHOLE], name) for name in PARTS})


def _join(one: Any, other: Any) -> Any:
    """Combine two trees into one, parameters as dicts of both; other leaves are the first's."""
    if isinstance(one, NetState):
        ema = one.ema and {name: _join(one.ema[name], other.ema[name]) for name in one.ema}
        params = _join(one.params, other.params)
        return NetState(params, {}, _join(one.opt_state, other.opt_state), ema)
    if isinstance(one, dict):
        return dict(zip(PARTS, (one, other), strict=True))
    if isinstance(one, tuple):
        parts = [_join(a, b) for a, b in zip(one, other, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else tuple(parts)
    return one


def _part(whole: Any, name: str) -> Any:
    """Return one network of a joined tree; arrays are copied, because the state is donated."""
    if isinstance(whole, NetState):
        ema = whole.ema and {key: _part(tree, name) for key, tree in whole.ema.items()}
        return NetState(_part(whole.params, name), {}, _part(whole.opt_state, name), ema)
    if isinstance(whole, dict):
        return whole[name]
    if isinstance(whole, tuple):
        parts = [_part(x, name) for x in whole]
        return type(whole)(*parts) if hasattr(whole, "_fields") else tuple(parts)
    return jnp.copy(whole) if isinstance(whole, jax.Array) else whole
