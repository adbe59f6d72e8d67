"""Configs as they are loaded: a file, its argument, and whether it has the fields of its family."""

from __future__ import annotations

from ml_collections import ConfigDict

from gan_jax.core.config import flatten
from gan_jax.core.config_files import find_config, run_config, shipped_configs
from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.methods.registry import METHODS


def load_config(location: str) -> ConfigDict:
    """Load "FILE.py" or "FILE.py:ARGUMENT".

    Args:
      location: a config file as of `find_config`, and after a colon the argument of its
        `get_config`.

    Returns:
      The config, locked: its fields can be changed, none can be added.

    Raises:
      UserError: no such file (with the names of those that are there), a bad argument, or a mistake
        in the file: an exception, or a field that nothing reads.
    """
    name, _, argument = location.partition(":")
    path = find_config(name)
    config = run_config(path, argument)
    if not isinstance(config, ConfigDict):
        raise UserError(f"config file {path}: get_config() returned no ConfigDict: {config!r:.60}")
    check_fields(config, str(path))
    config.lock()
    return config


def check_fields(config: ConfigDict, what: str) -> None:
    """Raise UserError unless a config has the fields of its family: each of them, and no other.

    Args:
      config: of any file.
      what: the file, for the message.
    """
    task = config.get("task", {}).get("name", "")
    if task not in METHODS:
        return  # `check_method` says so
    legal = flatten(run_config(shipped_configs() / f"{METHODS[task].reference}.py", "smoke"))
    given = flatten(config)
    for name in given:
        if name not in legal:
            raise UserError(
                f"config {what}: task {task!r} has no field {name!r}{did_you_mean(name, legal)}"
            )
    for name in legal:
        if name not in given:
            raise UserError(
                f"config {what} lacks the field {name!r} of task {task!r}: start from"
                f" configs/common.py, as configs/{METHODS[task].reference}.py does"
            )
