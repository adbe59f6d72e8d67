"""Load configs: run the file with its argument, apply overrides, fill in defaults, check.

A config file sets what its experiment chooses; the other fields of a section are the defaults of
the choice that it names (`core.choices`). The sections that all methods share (`data`, `train`,
`eval`, `seed`) are as in configs/common.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, complete, owners
from gan_jax.core.config import apply_overrides, as_field, check_config, flatten
from gan_jax.core.config_files import base_config, find_config, run_config
from gan_jax.core.errors import UserError, check_choice, did_you_mean
from gan_jax.core.outside import trusting
from gan_jax.methods.registry import METHODS, check_method, sections

SHARED = ("seed", "data", "train", "eval")


Config = str | Path | Mapping[str, Any] | ConfigDict


def load_config(config: Config, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Load a config from a file, or complete one that was made in Python.

    Args:
      config: "FILE.py" or "FILE.py:ARGUMENT", a file as in `find_config` and the argument of its
        `get_config`; or a ConfigDict or dict, which is not modified and may leave out fields of the
        shared sections whose value is that of configs/common.py.
      overrides: fields to set, as text or as values: {"optim.gen.lr": 1e-4}.

    Returns:
      The complete config, locked: fields can be changed, none can be added.

    Raises:
      UserError: no such file (lists those that exist), a bad argument, an exception in the file, a
        field that nothing reads, a bad override, or an illegal value.
    """
    with trusting():  # the config and the overrides are the caller's own
        if not isinstance(config, (str, Path)):
            return resolve(from_python(config), overrides)
        name, _, argument = str(config).partition(":")
        path = find_config(name)
        found = run_config(path, argument)
        if not isinstance(found, ConfigDict):
            raise UserError(
                f"config file {path}: get_config() returned no ConfigDict: {found!r:.60}"
            )
        return resolve(found, overrides, what=f"config {path}")


def from_python(config: Mapping[str, Any] | ConfigDict) -> ConfigDict:
    """Return a copy of a config that was made in Python, with all fields of the shared sections.

    Raises:
      UserError: not a config, an unknown method, an unknown field, or a value of the wrong type.
    """
    if not isinstance(config, (Mapping, ConfigDict)):
        raise UserError(f"config={config!r:.60}: a file's name, a ConfigDict or a dict")
    given = dict(_plain(config))
    if isinstance(given.get("task"), str):
        given["task"] = ConfigDict(dict(name=given["task"]))
    for key in ("task", "model", "optim", "terms"):
        if not isinstance(section := given.get(key, ConfigDict()), ConfigDict):
            raise UserError(f"config.{key}={section!r:.60}: a section, such as a dict")
    name = given.get("task", {}).get("name")
    check_choice("task.name", name, METHODS)
    base = base_config(name)
    current = flatten(base)
    shared = flatten({key: given.pop(key) for key in SHARED if key in given})
    _check_known(shared, current, "config")
    with base.unlocked():
        base.update_from_flattened_dict(
            {field: as_field(field, value, current[field]) for field, value in shared.items()}
        )
        for key, value in given.items():
            base[key] = value
    return base


def _plain(value: Any) -> Any:
    """Return a copy of a value in the types of configs: ConfigDict, tuple, and JSON's scalars."""
    if isinstance(value, (Mapping, ConfigDict)):
        return ConfigDict({str(key): _plain(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def resolve(
    config: ConfigDict, overrides: Mapping[str, Any] | None = None, *, what: str = "config"
) -> ConfigDict:
    """Return a config with overrides applied, completed, checked and locked.

    Errors in the shared sections are raised before the method, and with it JAX, is imported.

    Args:
      config: from a file, a run or `from_python`; modified in place.
      overrides: as in `load_config`.
      what: origin of the config, for messages.
    """
    overrides = {name: str(value) for name, value in (overrides or {}).items()}
    _check_shared(config, what)
    check_method(config)
    shared = {k: v for k, v in overrides.items() if k.partition(".")[0] in SHARED}
    known = (*SHARED, "task", "model", "optim", "terms", "augment", "degrade")
    for field in overrides:
        if field.partition(".")[0] not in known:
            raise UserError(f"no config field {field!r}{did_you_mean(field, flatten(config))}")
    apply_overrides(config, shared)
    if shared:
        check_config(config)
    rest = {k: v for k, v in overrides.items() if k not in shared}
    chosen = sections(config)
    try:
        complete(config, chosen)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    if rest:
        # In the order of the command line: the last one for a section wins.
        names = [k for k in rest if isinstance(chosen.get(k.removesuffix(".name")), Choice)]
        apply_overrides(config, {k: rest.pop(k) for k in names}, chosen)
        chosen = sections(config)  # may depend on the names just set
        complete(config, chosen)
        apply_overrides(config, rest, chosen)
    _check_owned(config, chosen, what)
    check_config(config)
    config.lock()
    return config


def _check_shared(config: ConfigDict, what: str) -> None:
    """Raise UserError unless the shared sections have exactly the fields of configs/common.py."""
    shared = lambda fields: {k for k in fields if k.partition(".")[0] in SHARED}  # noqa: E731
    legal, given = shared(flatten(base_config("gan"))), shared(flatten(config))
    _check_known(given, legal, what)
    for name in sorted(legal - given):
        raise UserError(f"{what} lacks the field {name!r}: start from configs/common.py")


def _check_known(given: Collection[str], legal: Collection[str], what: str) -> None:
    """Raise UserError at a field that does not exist."""
    for name in sorted({*given} - {*legal}):
        raise UserError(f"{what} has a field that is none, {name!r}{did_you_mean(name, legal)}")


def _check_owned(config: ConfigDict, chosen: Sections, what: str) -> None:
    """Raise UserError at a field that the method does not read."""
    for name in flatten(config):
        if name.partition(".")[0] not in SHARED and not any(owners(name, chosen)):
            raise UserError(
                f"{what}: task {config.task.name!r} has no field {name!r}"
                f"{did_you_mean(name, chosen)}: its sections are {', '.join(chosen)}"
            )
