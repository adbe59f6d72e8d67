"""Transfer learning: training starts from the networks of another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.state import NetState, TrainState, averaged

Start = Callable[[jax.Array], TrainState]


def starting_from(
    given: Mapping[str, NetState], start: Start, target: TrainState, *, source: Path
) -> Start:
    """Wrap an initialiser so that networks are copied from another run, matched by name.

    Parameters, batch statistics and spectral vectors are copied, and moving averages if this run
    keeps them (from the weights if the other run kept none); optimizers start anew. Networks that
    the other run lacks are initialised as usual.

    Args:
      given: networks of the other run.
      start: key -> initial state.
      target: abstract result of `start`.
      source: directory of the other run, for error messages.

    Raises:
      UserError: if no network names match, or matching networks differ in layers or sizes.
    """
    theirs = given
    given = {name: net for name, net in theirs.items() if name in target.nets}
    if not given:
        theirs, mine = (", ".join(sorted(nets)) for nets in (theirs, target.nets))
        raise UserError(
            f"train.init_from={source} has the networks {theirs}, and this task {mine}: name a run"
            " with one of these"
        )
    for name, net in given.items():
        _check(source, name, net, target.nets[name])
    # Host arrays, which are then placed with this run's shardings.
    given = {name: jax.device_get(_kept(net)) for name, net in given.items()}

    def begin(key: jax.Array) -> TrainState:
        state = start(key)
        nets = dict(state.nets)
        for name, kept in given.items():
            net = nets[name]
            own = {"params": net.params, "extra": net.extra, "ema": net.ema}
            if net.ema is None:
                kept = {**kept, "ema": None}
            nets[name] = net.replace(
                **jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), kept, own)
            )
        return state.replace(nets=nets)

    return begin


def _kept(net: NetState) -> dict[str, Any]:
    ema = averaged(net) if net.ema is None else net.ema
    return {"params": net.params, "extra": net.extra, "ema": ema}


def _check(source: Path, name: str, theirs: NetState, mine: NetState) -> None:
    shapes = [
        {jax.tree_util.keystr(path): np.shape(x) for path, x in jax.tree.leaves_with_path(net)}
        for net in ({"params": n.params, "extra": n.extra} for n in (theirs, mine))
    ]
    for leaf in sorted(shapes[0].keys() | shapes[1].keys()):
        a, b = (side.get(leaf, "absent") for side in shapes)
        if a != b:
            raise UserError(
                f"train.init_from={source}: network {name!r} differs, {leaf} is {a} there and {b}"
                " here: repeat that run's model and data.size"
            )
