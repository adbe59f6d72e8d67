"""Checkpoints whose networks were laid out in another way than those of today.

Schema 1 kept a VAE's encoder and decoder as one network, `nets["vae"]`, with one optimizer. What
follows makes the target of such a restore from that of today, and today's state from what is
restored. What is found is told by the saved tree itself: a run that goes on has both layouts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.core.state import NetState, TrainState

WHOLE, PARTS = "vae", ("encoder", "decoder")


def is_joined(saved: Collection[str], state: TrainState) -> bool:
    """Return whether the networks `saved` by name are those of schema 1, and `state` is of today.

    A state with buffers is not: terms had one for both networks.
    """
    return set(saved) == {WHOLE} and set(state.nets) == {*PARTS} and not state.buffers


def joined(state: TrainState) -> TrainState:
    """Return a state, abstract or not, as schema 1 had it."""
    one, other = (state.nets[name] for name in PARTS)
    return state.replace(nets={WHOLE: _join(one, other)})


def parted(state: TrainState) -> TrainState:
    """Return a state of schema 1 as it is today; each optimizer keeps the count of updates."""
    return state.replace(nets={name: _part(state.nets[WHOLE], name) for name in PARTS})


def _join(one: Any, other: Any) -> Any:
    """Put trees of parameters side by side, as dicts of both; what the two share is the first's."""
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
    """Return one network of `_join`, with arrays of its own, as the state is donated."""
    if isinstance(whole, NetState):
        ema = whole.ema and {key: _part(tree, name) for key, tree in whole.ema.items()}
        return NetState(_part(whole.params, name), {}, _part(whole.opt_state, name), ema)
    if isinstance(whole, dict):
        return whole[name]
    if isinstance(whole, tuple):
        parts = [_part(x, name) for x in whole]
        return type(whole)(*parts) if hasattr(whole, "_fields") else tuple(parts)
    return jnp.copy(whole) if isinstance(whole, jax.Array) else whole
