"""Terms: regularisers and auxiliary losses in addition to the main objective of an update.

A term is a pure function of the networks and of intermediate results of the loss
(`update.Aux.seen`); weight times its mean is added to the loss of the network it names. A lazy term
(`every` > 1) is computed every `every` steps, with its weight multiplied by `every` (Karras et al.
2019, arXiv:1912.04958, appendix B). Which terms are due is static, so that the other steps do not
compute them.

A term may keep arrays in the state, its buffer. It reads the buffer as it was before the update;
after an update in which the term was due, `next` returns the new buffer.
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
      net: the network whose loss it is added to.
      value: (nets, seen, keys, buffer) -> (per-example values [B] or a scalar, statistics). `nets`
        are the update's handles, `seen` is `Aux.seen` of its loss, keys are typed PRNG keys [B] for
        this term only; statistics are scalars, means over the batch, for `next`.
      weight: step -> factor of the mean value.
      every: interval of a lazy term, in steps.
      needs: entries of `seen` that `value` reads.
      init: parameters of `net` -> the initial buffer; None for a term without a buffer.
      next: (buffer, statistics, network after the step, step) -> the new buffer; None: unchanged.
    """

    net: str
    value: Value
    weight: Callable[[jax.Array], Any] = lambda step: 1.0
    every: int = 1
    needs: tuple[str, ...] = ()
    init: Callable[[Any], Any] | None = None
    next: Callable[[Any, Statistics, NetState, jax.Array], Any] | None = None


class Kind(NamedTuple):
    """A `Term` before the config sets its network, weight and interval."""

    value: Value
    needs: tuple[str, ...] = ()
    init: Callable[[Any], Any] | None = None
    next: Callable[[Any, Statistics, NetState, jax.Array], Any] | None = None

    def term(self, net: str, weight: float, every: int = 1) -> Term:
        """Return the term for a network, with a constant weight."""
        return Term(net, self.value, lambda step: weight, every, *self[1:])


def plain(
    function: Callable[[Mapping[str, Any], jax.Array], jax.Array], needs: tuple[str, ...]
) -> Kind:
    """Return a term without a buffer from (seen, keys) -> per-example values, or a scalar."""
    return Kind(lambda nets, seen, keys, buffer: (function(seen, keys), {}), needs)


def orthogonal(*, net: str) -> Kind:
    """Return orthogonal regularisation of a network's weights, see `weights.orthogonal`."""

    def value(nets: Any, seen: Any, keys: Any, buffer: Any) -> tuple[jax.Array, Statistics]:
        return weights.orthogonal(params=nets[net].params), {}

    return Kind(value)


def historical(*, net: str) -> Kind:
    """Return historical averaging of a network's weights, see `weights.historical`.

    Its buffer is the mean of the weights after each update in which the term was due, the initial
    weights included.
    """

    def value(nets: Any, seen: Any, keys: Any, buffer: Any) -> tuple[jax.Array, Statistics]:
        return weights.historical(params=nets[net].params, average=buffer["average"]), {}

    def init(params: Any) -> Any:
        # A copy, never an alias: the state is donated.
        return {"average": jax.tree.map(jnp.copy, params), "updates": jnp.zeros((), jnp.int32)}

    def following(buffer: Any, statistics: Any, after: NetState, step: jax.Array) -> Any:
        updates = buffer["updates"] + 1
        average = weights.updated_history(buffer["average"], after.params, updates)
        return {"average": average, "updates": updates}

    return Kind(value, (), init, following)


COMMON = {"weight": REQUIRED, "every": 1}  # fields that every term has, in addition to its own
ANY = {"orthogonal": orthogonal, "historical": historical}  # terms of any network of any method


def terms_of(
    kinds: Mapping[str, Callable[..., Kind]] | None = None, given: tuple[str, ...] = ()
) -> Several:
    """Return the choices of a section `terms.NET`: the terms of any network, and `kinds`.

    Args:
      kinds: name -> factory; its keywords are the term's fields, apart from weight and interval.
      given: keywords that the task fills in.
    """
    return Several({**(kinds or {}), **ANY}, ("net", *given), COMMON, "weight", Kind)


def make_terms(net: str, section: ConfigDict, choice: Several, **given: Any) -> dict[str, Term]:
    """Return the terms of a network by "NET/TERM", in the order of `choice`.

    Args:
      net: name of the network.
      section: `config.terms.NET`, complete.
      choice: the terms that the section may name.
      **given: keywords that the task fills in.

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
    """Raise UserError unless the losses offer every entry that a term needs.

    Args:
      terms: by name.
      offers: network -> entries that the losses of its updates put into `seen`.
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
    """Return the names of the lazy terms due at this step, the last of every `every` steps."""
    return tuple(
        name
        for name, term in terms.items()
        if term.every > 1 and step % term.every == term.every - 1
    )


def active_terms(
    terms: Mapping[str, Term], nets: Sequence[str], due: Sequence[str]
) -> dict[str, Term]:
    """Return the terms of the named networks that a step computes; `due` as in `due_names`."""
    return {
        name: term
        for name, term in terms.items()
        if term.net in nets and (term.every == 1 or name in due)
    }


def initial_buffers(terms: Mapping[str, Term], nets: Mapping[str, NetState]) -> dict[str, Any]:
    """Return the initial buffers of the terms that keep one."""
    return {name: term.init(nets[term.net].params) for name, term in terms.items() if term.init}
