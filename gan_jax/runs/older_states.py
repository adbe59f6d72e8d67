"""States as earlier versions saved them, restored as those of today.

The state of an optimizer was that of `optax.chain`: an entry a rule, also for clipping and weight
decay, which remember nothing. Today's is that of the rules that remember, in the same order.
"""

from __future__ import annotations

from typing import Any

import jax
import optax

from gan_jax.core.state import TrainState


def as_saved(abstract: TrainState, saved: Any) -> TrainState:
    """Return `abstract` in the layout that a checkpoint has.

    Args:
      abstract: the state of today.
      saved: the tree of the checkpoint, as dicts and lists; leaves that are arrays have a shape.
    """
    nets = {}
    for name, net in abstract.nets.items():
        entries = saved["nets"].get(name, {}).get("opt_state")
        today = iter(net.opt_state)
        if isinstance(entries, list) and sum(map(_remembers, entries)) == len(net.opt_state):
            state = tuple(next(today) if _remembers(e) else _nothing(e) for e in entries)
            net = net.replace(opt_state=state)
        nets[name] = net
    return abstract.replace(nets=nets)


def as_today(state: TrainState, abstract: TrainState) -> TrainState:
    """Return what was restored by the layout of `as_saved` in that of `abstract`."""
    nets = dict(state.nets)
    for name, net in nets.items():
        if len(net.opt_state) != len(abstract.nets[name].opt_state):
            kept = tuple(entry for entry in net.opt_state if jax.tree.leaves(entry))
            nets[name] = net.replace(opt_state=kept)
    return state.replace(nets=nets)


def _remembers(entry: Any) -> bool:
    return any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(entry))


def _nothing(entry: Any) -> Any:
    empty = optax.EmptyState()
    return optax.MaskedState(empty) if isinstance(entry, dict) else empty
