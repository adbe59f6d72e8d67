"""Learning-rate schedules, `optim.NET.schedule=NAME[,key=value,...]`, and warm-up.

Every schedule takes `warmup_images=N`: a warm-up counted in images, independent of the batch size.

A schedule is a factor of the peak learning rate, as a function of the updates since the end of
warm-up. All counts are updates of the network, of which there may be several per training step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import jax.numpy as jnp
import optax

from gan_jax.core.errors import UserError, check_choice


def constant(*, steps: int) -> optax.Schedule:
    """Return 1."""
    return optax.constant_schedule(1.0)


def linear(*, steps: int, start: int = 0) -> optax.Schedule:
    """Return 1 up to update `start`, then linear decay to 0 at the end of training.

    With `start` at half of the training this is CycleGAN's (arXiv:1703.10593, section 4).
    """
    _check(0 <= start < steps, f"start={start}: from 0 to below the {steps} updates to train")
    return optax.linear_schedule(1.0, 0.0, steps - start, transition_begin=start)


def cosine(*, steps: int, first: int = 0, factor: float = 1.0) -> optax.Schedule:
    """Return cosine decay from 1 to 0 with warm restarts (arXiv:1608.03983, equation 5).

    Args:
      steps: updates in the whole training.
      first: updates in the first cycle; 0 for all of them, without a restart.
      factor: length of each cycle relative to the previous one; the paper's T_mult.
    """
    first = first or steps
    _check(0 < first <= steps, f"first={first}: from 1 to the {steps} updates to train")
    _check(factor >= 1, f"factor={factor}: at least 1")
    lengths = [first]
    while sum(lengths) < steps:
        lengths.append(round(lengths[-1] * factor))
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]
    return optax.join_schedules([optax.cosine_decay_schedule(1.0, n) for n in lengths], ends)


def step(*, steps: int, at: tuple[int, ...], factor: float = 0.1) -> optax.Schedule:
    """Return 1, multiplied by `factor` at each of the updates `at`; `at=1000+2000` in a config."""
    _check(all(a < b for a, b in zip((0, *at), at, strict=False)), f"at={at}: rising, above 0")
    _check(factor > 0, f"factor={factor}: above 0")
    return lambda count: factor ** sum(jnp.where(count >= a, 1.0, 0.0) for a in at)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "step": step,
}
WARMUP = "warmup_images="
_TYPES = {"int": int, "float": float, "tuple[int, ...]": lambda x: tuple(map(int, x.split("+")))}


def make_schedule(
    *,
    lr: float,
    schedule: str,
    warmup_steps: int,
    steps: int,
    batch: int,
) -> optax.Schedule:
    """Return the learning rate as a function of the number of updates.

    Args:
      lr: peak learning rate.
      schedule: "NAME" or "NAME,key=value,..." of `SCHEDULES`; starts at the end of warm-up.
      warmup_steps: updates of linear warm-up from 0 to the peak; 0 if the schedule counts images.
      steps: length of training, in updates of this network.
      batch: images per update.

    Raises:
      UserError: for an unknown schedule or field, or a value out of range.
    """
    name, *pairs = schedule.split(",")
    by_images = [pair for pair in pairs if pair.startswith(WARMUP)]
    if warmup_steps and by_images:
        raise UserError(f"optim.*.warmup_steps={warmup_steps} and schedule={schedule}: give one")
    warmup = warmup_steps
    for pair in by_images:
        pairs.remove(pair)
        if not (images := pair.removeprefix(WARMUP)).isdecimal():
            raise UserError(f"optim.*.schedule={schedule}: {WARMUP}N takes a whole number")
        warmup = -(-int(images) // batch)
    if name != "constant" and warmup >= steps:
        given = f"schedule={schedule}" if by_images else f"warmup_steps={warmup}"
        raise UserError(f"optim.*.{given} leaves none of {steps} steps to train")
    factor = _parse(name, pairs, max(steps - warmup, 1))
    after = lambda count: lr * factor(count)  # noqa: E731
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, lr, warmup), after], [warmup])


def _parse(name: str, pairs: list[str], steps: int) -> optax.Schedule:
    check_choice("optim.*.schedule", name, SCHEDULES)
    taken = {k: p for k, p in inspect.signature(SCHEDULES[name]).parameters.items() if k != "steps"}
    fields = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in taken:
            able = ", ".join(taken) or "no fields"
            raise UserError(f"optim.*.schedule={name},{pair}: it takes {able}, as {name},KEY=VALUE")
        try:
            fields[key] = _TYPES[taken[key].annotation](text)
        except ValueError:
            kind = taken[key].annotation
            raise UserError(f"optim.*.schedule={name},{pair}: {key} is of type {kind}") from None
    for key, parameter in taken.items():
        if parameter.default is parameter.empty and key not in fields:
            raise UserError(f"optim.*.schedule={name} needs {key}, as {name},{key}=VALUE")
    try:
        return SCHEDULES[name](steps=steps, **fields)
    except ValueError as error:
        raise UserError(f"optim.*.schedule={','.join([name, *pairs])}: {error}") from None


def _check(valid: bool, message: str) -> None:
    if not valid:
        raise ValueError(message)
