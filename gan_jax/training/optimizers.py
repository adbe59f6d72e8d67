"""Optimizers: one optax chain per network, from the keywords of its config section."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from gan_jax.core.choices import Choice, build
from gan_jax.core.errors import UserError
from gan_jax.ops.separately_compiled import separately_compiled
from gan_jax.training.schedules import make_schedule

DECAYED = ("kernel", "tensor")  # names of the parameters with weight decay


def adam(
    *,
    steps: int,
    batch: int,
    lr: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup_steps: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Return Adam (arXiv:1412.6980), or AdamW (arXiv:1711.05101) with weight decay.

    Args:
      steps: updates in the whole training, for the schedule.
      batch: images per update, for a warm-up counted in images.
      lr: peak learning rate.
      b1: first-moment decay.
      b2: second-moment decay.
      eps: added to the root of the second moment, as in PyTorch. (TensorFlow and Chainer add it
        before bias correction, which differs in the first steps only.)
      weight_decay: decoupled weight decay of the parameters selected by `decayed`.
      clip_norm: maximum global norm of the gradient; 0 for no clipping.
      schedule, warmup_steps: see `training.schedules.make_schedule`.
    """
    _check_eps(eps)
    given = dict(lr=lr, schedule=schedule, warmup_steps=warmup_steps, steps=steps, batch=batch)
    rule = scale_by_adam(b1=b1, b2=b2, eps=eps)
    return _rule(rule, make_schedule(**given), weight_decay, clip_norm)


def sgd(
    *,
    steps: int,
    batch: int,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup_steps: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Return SGD; `momentum` is the decay of the gradient trace, other keywords as in `adam`."""
    rule = optax.trace(decay=momentum, nesterov=False) if momentum else optax.identity()
    given = dict(lr=lr, schedule=schedule, warmup_steps=warmup_steps, steps=steps, batch=batch)
    return _rule(rule, make_schedule(**given), weight_decay, clip_norm)


def rmsprop(
    *,
    steps: int,
    batch: int,
    lr: float,
    decay: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    schedule: str = "constant",
    warmup_steps: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Return RMSProp.

    Args:
      steps, batch, lr, weight_decay, clip_norm: as in `adam`; so are schedule and warm-up.
      decay: second-moment decay, PyTorch's alpha.
      eps: added to the root of the second moment, not inside the root, which would slow down every
        weight whose gradient is below the root of eps.
    """
    _check_eps(eps)
    given = dict(lr=lr, schedule=schedule, warmup_steps=warmup_steps, steps=steps, batch=batch)
    rule = optax.scale_by_rms(decay=decay, eps=eps, eps_in_sqrt=False)
    return _rule(rule, make_schedule(**given), weight_decay, clip_norm)


OPTIMIZERS = Choice(
    {"adam": adam, "sgd": sgd, "rmsprop": rmsprop},
    ("steps", "batch"),
    "adam",
    optax.GradientTransformation,
)


def make_optimizer(
    *, steps: int, batch: int, **section: Any
) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer of a config section `optim.NET`.

    Args:
      steps: updates of this network in the whole training.
      batch: images per update.
      **section: the complete section: "name" and the keywords of that function.
    """
    return optax.with_extra_args_support(
        build("optim.*", section, OPTIMIZERS, steps=steps, batch=batch)
    )


def _check_eps(eps: float) -> None:
    if eps <= 0:
        raise UserError(f"optim.*.eps={eps}: above 0, or a gradient of 0 would give nan")


def _rule(
    rule: optax.GradientTransformation, rate: optax.Schedule, weight_decay: float, clip_norm: float
) -> optax.GradientTransformationExtraArgs:
    chain = [clip_by_global_norm(clip_norm)] if clip_norm else []
    chain.append(rule)
    if weight_decay:
        chain.append(optax.add_decayed_weights(weight_decay, mask=decayed))
    chain.append(optax.scale_by_learning_rate(rate))
    return chained(chain)


def chained(rules: Sequence[optax.GradientTransformation]) -> optax.GradientTransformationExtraArgs:
    """Chain rules like `optax.chain`, but keep the states of stateful rules only.

    Stateless rules such as clipping and weight decay leave no entry in the state, so they can be
    added or removed when training resumes from a checkpoint.
    """
    rules = [optax.with_extra_args_support(rule) for rule in rules]
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    empty = [jax.eval_shape(rule.init, scalar) for rule in rules]
    stateful = [bool(jax.tree.leaves(state)) for state in empty]

    def init(params: Any) -> tuple[Any, ...]:
        return tuple(rule.init(params) for rule, kept in zip(rules, stateful, strict=True) if kept)

    def update(
        updates: Any, state: tuple[Any, ...], params: Any = None, **more: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        states, new = iter(state), []
        for rule, kept, nothing in zip(rules, stateful, empty, strict=True):
            old = next(states) if kept else nothing
            updates, after = rule.update(updates, old, params, **more)
            new += [after] * kept
        return updates, tuple(new)

    return optax.GradientTransformationExtraArgs(init, update)


def decayed(params: Any) -> Any:
    """Return a tree of bool: whether each parameter has weight decay, by its name.

    The number of axes would select too much: scales and biases of a conditional BatchNorm have one
    row per class, and decaying them would shrink the features of every class. Embeddings are
    excluded too, since rows of classes that are not in the batch would only shrink.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: bool(path) and getattr(path[-1], "key", None) in DECAYED, params
    )


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """Scale gradients down to an L2 norm of at most `max_norm`.

    Like `optax.clip_by_global_norm`, but `update` takes the norm as a keyword, `global_norm`: the
    gradients may be the shards of one device, see `gan_jax.parallel.fsdp`.
    """

    def update(
        gradients: Any, state: Any, params: Any = None, *, global_norm: jax.Array, **_: Any
    ) -> tuple[Any, Any]:
        factor = max_norm / jnp.maximum(global_norm, max_norm)
        return jax.tree.map(lambda x: (x * factor).astype(x.dtype), gradients), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def scale_by_adam(*, b1: float, b2: float, eps: float = 1e-8) -> optax.GradientTransformation:
    """Divide the first moment by the root of the second (arXiv:1412.6980, algorithm 1).

    Like `optax.scale_by_adam`, with the same state, but on CPU the moments of an array are compiled
    separately. XLA would otherwise recompute them for the parameter update, and transpose the
    gradient of a convolution kernel in each of the loops that read it.

    Args:
      b1: first-moment decay.
      b2: second-moment decay.
      eps: added to the root.
    """
    moments = functools.partial(_moments, b1=b1, b2=b2)
    on_cpu = functools.partial(separately_compiled, _moments, b1=b1, b2=b2)
    either = functools.partial(lax.platform_dependent, cpu=on_cpu, default=moments)

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        both = jax.tree.map(either, gradients, state.mu, state.nu)
        mu, nu = jax.tree.transpose(jax.tree.structure(gradients), None, both)
        count = optax.safe_increment(state.count)
        corrected = [optax.tree.bias_correction(m, b, count) for m, b in ((mu, b1), (nu, b2))]
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), *corrected)
        return updates, state._replace(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1=b1, b2=b2).init, update)


def _moments(
    gradient: jax.Array, mu: jax.Array, nu: jax.Array, *, b1: float, b2: float
) -> tuple[jax.Array, jax.Array]:
    mu = optax.tree.update_moment(gradient, mu, b1, 1)
    return mu, optax.tree.update_moment(gradient, nu, b2, 2)
