"""Config fields that came after the first runs, and the value of each that means what was before.

The config.json of a run has the fields of its day; reading it fills in those that came since, so
that an old run can be sampled, evaluated and resumed. Whoever adds a field to `configs/common.py`
or to a config of a family adds a row to `ADDED` (`tests/test_added_fields.py` fails without), also
where today's default is another one: `before` is what runs without the field did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Added:
    """A field.

    Attributes:
      name: "section.field"; "optim.*.field" is the field of every network's optimizer.
      before: its value in runs without it, or a function of their config.
      tasks: the families whose configs have the field; () for all.
    """

    name: str
    before: Any
    tasks: tuple[str, ...] = ()


ADDED = (
    Added("train.fsdp", 1),
    Added("train.microbatches", 1),
    Added("train.precision", "float32"),
    Added("train.remat", False),
    Added("train.steps_per_call", 1),
    Added("train.on_nan", "stop"),
    Added("task.loss", "non_saturating", ("gan",)),
    Added("task.gradient_penalty", 0.0, ("gan",)),
    Added("model.disc_norm", "batch", ("gan",)),
    Added("model.disc_width", lambda config: config.model.width, ("gan",)),
    Added("model.pool", "sum", ("gan",)),
)


def complete(config: ConfigDict) -> ConfigDict:
    """Add what a run's config lacks of `ADDED`, in place; sections that it lacks are made."""
    with config.unlocked():
        for row in ADDED:
            if row.tasks and config.task.name not in row.tasks:
                continue
            section, _, leaf = row.name.rpartition(".")
            for holder in _sections(config, section.split(".")):
                if leaf not in holder:
                    holder[leaf] = row.before(config) if callable(row.before) else row.before
    return config


def _sections(config: ConfigDict, path: list[str]) -> Iterator[ConfigDict]:
    """Yield the sections at a path; "*" is each that is there."""
    if not path:
        yield config
        return
    if path[0] != "*" and path[0] not in config:
        config[path[0]] = ConfigDict()
    for name in list(config) if path[0] == "*" else path[:1]:
        yield from _sections(config[name], path[1:])
