"""Terms: what a network minimises beside the main objective of an update.

A term is a small pure function of the networks and of what the loss saw (`update.Aux.seen`); the
network that it names minimises weight times its mean. A lazy term (`every` above 1) is taken at one
of so many steps with so many times its weight (Karras et al. 2019, arXiv:1912.04958, appendix B):
which ones are due is static, so that the other steps do not compute it.

A term may keep arrays of its own in the state, its buffer: it reads them as they were before the
update, and `next` makes the new ones once the update is done, when the term was due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import REQUIRED, Several
from gan_jax.core.errors import UserError
from gan_jax.core.metric_names import log_name, split_log_name
from gan_jax.core.state import NetState
from gan_jax.objectives import weights

Statistics = dict[str, jax.Array]
Value = Callable[[Any, Mapping[str, Any], Any, Any], tuple[jax.Array, Statistics]]


class Term(NamedTuple):
    """A term of one network.

    Attributes:
      net: the network whose loss it is part of.
      value: (nets, seen, keys, buffer) -> (one value an example or a scalar, statistics): `nets`
        are the handles of the update, `seen` is what its loss says, keys are typed PRNG keys [B]
        of this term alone; statistics are scalars, means over the batch, for `next`.
      weight: of its mean, by the step.
      every: steps from one time that it is taken to the next.
      needs: entries of `seen` that `value` reads.
      init: parameters of `net` -> the buffer at the start; None keeps none.
      next: (buffer, statistics, network after the step, step) -> the new buffer; None keeps it.
    """

    net: str
    value: Value
    weight: Callable[[jax.Array], Any] = lambda step: 1.0
    every: int = 1
    needs: tuple[str, ...] = ()
    init: Callable[[Any], Any] | None = None
    next: Callable[[Any, Statistics, NetState, jax.Array], Any] | None = None


class Kind(NamedTuple):
    """What a term is before a config gives it a network, a weight and an interval; see `Term`."""

    value: Value
    needs: tuple[str, ...] = ()
    init: Callable[[Any], Any] | None = None
    next: Callable[[Any, Statistics, NetState, jax.Array], Any] | None = None

    def term(self, net: str, weight: float, every: int = 1) -> Term:
        """Return the term of a network with a constant weight."""
        return Term(net, self.value, lambda step: weight, every, *self[1:])


def plain(
    function: Callable[[Mapping[str, Any], jax.Array], jax.Array], needs: tuple[str, ...]
) -> Kind:
    """Return a term without a buffer: (seen, keys) -> one value an example, or a scalar."""
    return Kind(lambda nets, seen, keys, buffer: (function(seen, keys), {}), needs)


def orthogonal(*, net: str) -> Kind:
    """Return orthogonal regularisation of a network's weights, see `weights.orthogonal`."""

    def value(nets: Any, seen: Any, keys: Any, buffer: Any) -> tuple[jax.Array, Statistics]:
        return weights.orthogonal(params=nets[net].params), {}

    return Kind(value)


def historical(*, net: str) -> Kind:
    """Return historical averaging of a network's weights, see `weights.historical`.

    Its buffer is the mean of the weights so far, the initial ones among them, after each update in
    which the term was taken.
    """

    def value(nets: Any, seen: Any, keys: Any, buffer: Any) -> tuple[jax.Array, Statistics]:
        return weights.historical(params=nets[net].params, average=buffer["average"]), {}

    def init(params: Any) -> Any:
        # A copy, never an alias: the state is donated.
        return {"average": jax.tree.map(jnp.copy, params), "updates": jnp.zeros((), jnp.int32)}

    def following(buffer: Any, statistics: Any, after: NetState, step: jax.Array) -> Any:
        updates = buffer["updates"] + 1
        average = weights.moved_history(buffer["average"], after.params, updates)
        return {"average": average, "updates": updates}

    return Kind(value, (), init, following)


COMMON = {"weight": REQUIRED, "every": 1}  # fields of each term, beside its own
ANY = {"orthogonal": orthogonal, "historical": historical}  # terms of any network of any method


def terms_of(
    kinds: Mapping[str, Callable[..., Kind]] | None = None, given: tuple[str, ...] = ()
) -> Several:
    """Return what a section of terms, `terms.NET`, may name: those of any network, and `kinds`.

    Args:
      kinds: by name, functions of the fields that they have beside weight and interval.
      given: parameters of these that the task fills in.
    """
    return Several({**(kinds or {}), **ANY}, ("net", *given), COMMON, "weight", Kind)


def make_terms(net: str, section: ConfigDict, choice: Several, **given: Any) -> dict[str, Term]:
    """Return the terms of a network by "NET/TERM", in the order of the choice.

    Args:
      net: the network.
      section: `config.terms.NET`, complete.
      choice: what it may name.
      **given: what their factories are given.

    Raises:
      UserError: a weight that is not above 0.
    """
    found = {}
    order = [name for name in choice.factories if name in section]
    for name in (*order, *sorted(name for name in section if name not in order)):
        fields = dict(section[name])
        called = fields.pop("name", name)
        weight, every = fields.pop("weight"), fields.pop("every")
        if weight <= 0:
            raise UserError(
                f"terms.{net}.{name}.weight={weight}: above 0; --config.terms.{net}.{name}=0 takes"
                " it away"
            )
        where = f"terms.{net}.{name}.name"
        kind = choice.one.call(where, called, fields, {"net": net, **given})
        found[log_name(net, name)] = kind.term(net, weight, every)
    return found


def check_terms(terms: Mapping[str, Term], offers: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError unless every term finds what it needs.

    Args:
      terms: by name.
      offers: network -> what the losses of its updates put into `seen`.
    """
    for name, term in terms.items():
        where = ".".join(("terms", *split_log_name(name)))
        if term.net not in offers:
            raise UserError(
                f"{where}: there is no network {term.net!r} to train: one of {', '.join(offers)}"
            )
        missing = [need for need in term.needs if need not in offers[term.net]]
        if missing:
            there = ", ".join(offers[term.net]) or "nothing"
            raise UserError(
                f"{where} needs {', '.join(missing)}, and an update of"
                f" {term.net!r} has {there}: leave the term out"
            )
        if term.every < 1:
            raise UserError(f"{where}.every={term.every}: at least 1, which is each step")


def due_names(terms: Mapping[str, Term], step: int) -> tuple[str, ...]:
    """Return the names of the lazy terms that are taken at this step, the last of `every`."""
    return tuple(
        name
        for name, term in terms.items()
        if term.every > 1 and step % term.every == term.every - 1
    )


def taken(terms: Mapping[str, Term], nets: Sequence[str], due: Sequence[str]) -> dict[str, Term]:
    """Return the terms of the named networks at a step; `due` as of `due_names`."""
    return {
        name: term
        for name, term in terms.items()
        if term.net in nets and (term.every == 1 or name in due)
    }


def initial_buffers(terms: Mapping[str, Term], nets: Mapping[str, NetState]) -> dict[str, Any]:
    """Return the buffers of the terms that keep one, at the start of a training."""
    return {name: term.init(nets[term.net].params) for name, term in terms.items() if term.init}
