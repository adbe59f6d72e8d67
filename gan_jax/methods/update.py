"""One update: an optimizer step of some of the networks, shared by all methods.

A method defines its networks (`Net`), their losses (functions of the networks' handles and a batch)
and the order of updates. Microbatches, gradient clipping, batch statistics, moving averages, terms
and their buffers are implemented here, once for all methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.core import tracers
from ml_collections import ConfigDict

from gan_jax.core.metric_names import log_name
from gan_jax.core.state import NetState, TrainState, averaged, init_net
from gan_jax.core.task import Key, Metrics, Phase
from gan_jax.methods.terms import Term, active_terms, check_terms, due_names, initial_buffers
from gan_jax.parallel import fsdp
from gan_jax.parallel.axes import axis_mean, example_keys
from gan_jax.parallel.microbatches import sum_over_microbatches
from gan_jax.parallel.precision import training_apply
from gan_jax.training.averages import ema_schedule, keeps_average
from gan_jax.training.optimizers import make_optimizer

TERMS = "terms"  # key of `TrainState.buffers` with the terms' buffers by name


@dataclasses.dataclass(frozen=True)
class Net:
    """The static part of a trained network.

    Attributes:
      module: the network.
      apply: `module.apply` in the precision of training, see `parallel.precision`.
      optimizer: its update takes `global_norm`, the norm of the whole gradient.
      inputs: abstract inputs of the module's `__call__`, batch axis 1.
      ema: step -> decay of the moving average of parameters; None keeps no average.
      hold: parameters -> the same, with `stop_gradient` on those that are not trained.
      project: applied to the parameters after each step, such as weight clipping.
    """

    module: nn.Module
    apply: Callable[..., Any]
    optimizer: optax.GradientTransformationExtraArgs
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    ema: Callable[[jax.Array], Any] | None = None
    hold: Callable[[Any], Any] | None = None
    project: Callable[[Any], Any] | None = None

    def init(self, key: Key, **kwargs: Any) -> NetState:
        """Return the network's initial state; `kwargs` are the module's, except `train`."""
        given = dict(ema=self.ema is not None, train=False, **kwargs)
        return init_net(self.module, key, self.inputs, self.optimizer, **given)


def make_net(
    module: nn.Module,
    inputs: tuple[jax.ShapeDtypeStruct, ...],
    optim: ConfigDict,
    train: ConfigDict,
    *,
    updates: int = 1,
    average: bool = True,
    hold: Callable[[Any], Any] | None = None,
    project: Callable[[Any], Any] | None = None,
) -> Net:
    """Return a network as a config trains it.

    Args:
      module: the network.
      inputs: as in `Net`.
      optim: the section `optim.NET`.
      train: the section `train`, for precision, moving averages and the length of schedules.
      updates: optimizer steps of this network per training step.
      average: False keeps no moving average, even if the config asks for one.
      hold: as in `Net`.
      project: as in `Net`.
    """
    return Net(
        module,
        training_apply(module, precision=train.precision, remat=train.remat),
        make_optimizer(**optim, steps=train.steps * updates, batch=train.batch_size),
        inputs,
        ema=ema_schedule(train) if average and keeps_average(train) else None,
        hold=hold,
        project=project,
    )


class Aux(NamedTuple):
    """Auxiliary outputs of a loss.

    Attributes:
      metrics: scalars, means over the batch or microbatch.
      outputs: pytree of per-example arrays [B, ...], which the update returns.
      seen: intermediate results for terms, by name.
    """

    metrics: Mapping[str, jax.Array] = {}
    outputs: Any = ()
    seen: Mapping[str, Any] = {}


class Handle:
    """A network within a loss: call it, or `pure` for a pass that updates no statistics.

    A call has the arguments and results of the module with train=True. If the network is being
    updated, it also updates the network's statistics, in the order of the calls.
    """

    def __init__(self, name: str, net: Net, variables: dict[str, Any], *, updated: bool) -> None:
        self._name, self._net, self._updated = name, net, updated
        self._trace = tracers.current_trace()
        self.variables = variables

    @property
    def params(self) -> Any:
        """The parameters, as the loss is differentiated by them."""
        return self.variables["params"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a training pass, and update the network's statistics if it is being updated.

        Raises:
          ValueError: within `grad`, `vmap`, `scan` or `checkpoint`, if the network is updated.
        """
        if self._updated and tracers.current_trace() != self._trace:
            raise ValueError(
                f"nets.{self._name}(...) moves statistics, which can't leave a grad, vmap, scan or"
                f" checkpoint: call nets.{self._name}.pure(...) within it"
            )
        found, moved = self._passed(self.variables, *args, **kwargs)
        if self._updated:
            self.variables = {**self.variables, **moved}
        return found

    def pure(self, *args: Any, params: Any = None, **kwargs: Any) -> Any:
        """Run a training pass that updates no statistics, with other parameters if given."""
        given = {} if params is None else {"params": params}
        return self._passed({**self.variables, **given}, *args, **kwargs)[0]

    def _passed(self, variables: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        moving = [name for name in variables if name != "params"]  # statistics, codebooks, ...
        return self._net.apply(variables, *args, train=True, mutable=moving, **kwargs)


class Nets:
    """The handles of an update's networks, as attributes and by name."""

    def __init__(self, handles: Mapping[str, Handle]) -> None:
        self.__dict__.update(handles)

    def __getitem__(self, name: str) -> Handle:
        return self.__dict__[name]


Loss = Callable[[Nets, Any], tuple[Any, Aux]]


@dataclasses.dataclass(frozen=True)
class Update:
    """See `make_update`; call it to take a step."""

    nets: Mapping[str, Net]
    terms: Mapping[str, Term]
    microbatches: int

    @property
    def networks(self) -> dict[str, Any]:
        """Return the fields of a `Task` that describe the networks: modules, example_inputs."""
        modules = {name: net.module for name, net in self.nets.items()}
        return dict(modules=modules, example_inputs={n: net.inputs for n, net in self.nets.items()})

    def due(self, step: int) -> tuple[str, ...]:
        """Return the names of the lazy terms due at this step."""
        return due_names(self.terms, step)

    def needs_key(self, names: Sequence[str], phase: Phase) -> bool:
        """Return whether an update of these networks computes terms, which take a key."""
        return bool(active_terms(self.terms, names, phase.due))

    def buffers(self, nets: Mapping[str, NetState]) -> dict[str, Any]:
        """Return this update's part of the initial `TrainState.buffers`."""
        found = initial_buffers(self.terms, nets)
        return {TERMS: found} if found else {}

    def __call__(
        self,
        state: TrainState,
        names: Sequence[str],
        loss: Loss,
        inputs: Any,
        *,
        key: Key | None = None,
        phase: Phase,
    ) -> tuple[TrainState, Metrics, Any]:
        """Take one optimizer step of the named networks.

        Args:
          state: before the update; `step` counts training steps.
          names: the networks to update.
          loss: (nets, inputs) -> (value, Aux). The value is a mean over the examples that all named
            networks minimise; or {name: value}, where each network minimises its own value, from
            one shared forward pass.
          inputs: pytree of per-example arrays [B, ...], random draws and PRNG keys included.
          key: typed PRNG key for the terms; needed only with terms.
          phase: of the step; says which lazy terms are due.

        Returns:
          (state, metrics, outputs): metrics of this device are the loss's, "NET/TERM" (the terms'
          means, without their weights) and "grad_norm/NET" (before clipping). Outputs are
          `Aux.outputs` in the order of `inputs`.
        """
        names = tuple(names)
        terms = active_terms(self.terms, names, phase.due)
        buffers = state.buffers.get(TERMS, {})
        keys = _term_keys(key, terms, len(jax.tree.leaves(inputs)[0]))
        params = {name: state.nets[name].params for name in names}
        extra = {name: state.nets[name].extra for name in names}

        def run(params: Any, extra: Any, part: Any) -> Any:
            inputs, keys = part
            nets = self._handles(state, names, params, extra)
            value, aux = loss(nets, inputs)
            shared = not isinstance(value, Mapping)
            losses = dict.fromkeys(names, value) if shared else dict(value)
            metrics, statistics = dict(aux.metrics), {}
            for name, term in terms.items():
                found, statistics[name] = term.value(nets, aux.seen, keys[name], buffers.get(name))
                metrics[name] = found.mean()
                weighted = term.weight(state.step) * term.every * metrics[name]
                for net in names if shared else (term.net,):
                    losses[net] = losses[net] + weighted
            moved = {n: {c: nets[n].variables[c] for c in extra[n]} for n in names}
            values = losses[names[0]] if shared else jnp.stack([losses[n] for n in names])
            return values, (moved, (metrics, statistics), aux.outputs)

        gradients, (extra, (metrics, statistics), outputs) = sum_over_microbatches(
            lambda extra, part: _gradients(run, names, params, extra, part),
            params,
            extra,
            (inputs, keys),
            microbatches=self.microbatches,
        )
        nets = dict(state.nets)
        for name in names:
            nets[name], norm = self._step(name, state, gradients[name], extra[name])
            metrics[log_name("grad_norm", name)] = norm
        after = {
            name: term.next(buffers[name], axis_mean(statistics[name]), nets[term.net], state.step)
            for name, term in terms.items()
            if term.next
        }
        if after:
            buffers = {**state.buffers, TERMS: {**buffers, **after}}
            state = state.replace(buffers=buffers)
        return state.replace(nets=nets), metrics, outputs

    def _handles(self, state: TrainState, names: Sequence[str], params: Any, extra: Any) -> Nets:
        found = {}
        for name, net in self.nets.items():
            if name in names:
                held = net.hold(params[name]) if net.hold else params[name]
                variables = {"params": held, **extra[name]}
            else:
                variables = state.nets[name].variables()
            found[name] = Handle(name, net, variables, updated=name in names)
        return Nets(found)

    def _step(
        self, name: str, state: TrainState, gradients: Any, extra: Any
    ) -> tuple[NetState, jax.Array]:
        net = self.nets[name]
        decay = net.ema(state.step) if net.ema else 0.0
        after, norm = apply_gradients(
            state.nets[name], gradients, net.optimizer, extra=extra, ema_decay=decay
        )
        return after.replace(params=net.project(after.params)) if net.project else after, norm


def make_update(
    nets: Mapping[str, Net],
    terms: Mapping[str, Term] | None = None,
    *,
    microbatches: int = 1,
    offers: Mapping[str, Sequence[str]] | None = None,
) -> Update:
    """Return the update of a method.

    Args:
      nets: the networks by name.
      terms: further terms of their losses, by "NET/TERM".
      microbatches: number of parts a batch is processed in, see `parallel.microbatches`.
      offers: network -> entries that the loss of its update puts into `seen`; missing networks
        offer nothing.

    Raises:
      UserError: a term of an unknown network, or one that needs an entry its loss does not offer.
    """
    terms = dict(terms or {})
    check_terms(terms, {name: (offers or {}).get(name, ()) for name in nets})
    return Update(dict(nets), terms, microbatches)


def _term_keys(key: Key | None, terms: Mapping[str, Term], batch: int) -> dict[str, jax.Array]:
    """Return {term: keys [batch]}; without terms nothing, and `key` may be None."""
    if not terms:
        return {}
    keys = jax.random.split(key, len(terms))
    return {name: example_keys(k, batch) for name, k in zip(terms, keys, strict=True)}


def _gradients(
    run: Callable[..., Any], names: Sequence[str], params: Any, extra: Any, part: Any
) -> tuple[Any, Any]:
    """Return the gradient of each network's objective in its own parameters, and `run`'s aux.

    Several objectives take one backward pass each, through one shared forward pass.
    """
    values, pull, aux = jax.vjp(lambda params: run(params, extra, part), params, has_aux=True)
    if values.ndim == 0:
        return pull(jnp.ones_like(values))[0], aux
    units = jnp.eye(len(names), dtype=values.dtype)
    return {name: pull(unit)[0][name] for name, unit in zip(names, units, strict=True)}, aux


def apply_gradients(
    net: NetState,
    gradients: Any,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    extra: Any = None,
    ema_decay: jax.Array | float = 0.0,
) -> tuple[NetState, jax.Array]:
    """Take one optimizer step and update the moving average.

    Gradients are reduced over the devices here, once per update.

    Args:
      net: the network.
      gradients: like `net.params`; of the mean loss over this device's batch.
      optimizer: the one that made `net.opt_state`; its update takes the gradient's `global_norm`.
      extra: new mutable collections from `module.apply(..., mutable=...)`; missing ones are kept.
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
    # The average is sharded like the parameters it follows.
    ema = jax.tree.map(mix, net.ema, averaged(net.replace(params=mine)))
    return net.replace(ema=ema), norm
