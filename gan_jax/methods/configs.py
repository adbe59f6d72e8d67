"""Configs as they are loaded: a file and its argument, overridden, complete, and checked.

A file says what its experiment chooses; the rest of each section are the defaults of what it names
(`core.choices`). What no method owns (`data`, `train`, `eval`, `seed`) is as in configs/common.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, complete, owners
from gan_jax.core.config import apply_overrides, check_config, flatten
from gan_jax.core.config_files import find_config, run_config, shipped_configs
from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.outside import trusting
from gan_jax.methods.registry import check_method, sections

SHARED = ("seed", "data", "train", "eval")


def load_config(location: str, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Load "FILE.py" or "FILE.py:ARGUMENT".

    Args:
      location: a config file as of `find_config`, and after a colon the argument of its
        `get_config`.
      overrides: fields to set, as text: {"optim.gen.lr": "1e-4"}.

    Returns:
      The config with all of its fields, locked: they can be changed, none can be added.

    Raises:
      UserError: no such file (with the names of those that are there), a bad argument, a mistake in
        the file: an exception, or a field that nothing reads; or a bad override.
    """
    name, _, argument = location.partition(":")
    path = find_config(name)
    config = run_config(path, argument)
    if not isinstance(config, ConfigDict):
        raise UserError(f"config file {path}: get_config() returned no ConfigDict: {config!r:.60}")
    with trusting():  # the file and the overrides are the caller's own
        return resolve(config, overrides, what=f"config {path}")


def resolve(
    config: ConfigDict, overrides: Mapping[str, str] | None = None, *, what: str = "config"
) -> ConfigDict:
    """Return a config complete, with fields overridden, and locked.

    Mistakes in what all methods share show before the method, and with it JAX, is imported.

    Args:
      config: of a file or of a run.
      overrides: as of `load_config`.
      what: where it comes from, for messages.
    """
    overrides = dict(overrides or {})
    _check_shared(config, what)
    check_method(config)
    shared = {k: v for k, v in overrides.items() if k.partition(".")[0] in SHARED}
    known = (*SHARED, "task", "model", "optim", "terms", "augment")
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
        # In the order of the command line: of two for one section the last counts.
        names = [k for k in rest if isinstance(chosen.get(k.removesuffix(".name")), Choice)]
        apply_overrides(config, {k: rest.pop(k) for k in names}, chosen)
        chosen = sections(config)  # which a name may change
        complete(config, chosen)
        apply_overrides(config, rest, chosen)
    _check_owned(config, chosen, what)
    config.lock()
    return config


def _check_shared(config: ConfigDict, what: str) -> None:
    """Raise UserError unless a config has what all have: each field, and no other."""
    reference = flatten(run_config(shipped_configs() / "quickstart.py", "smoke"))
    shared = lambda fields: {k for k in fields if k.partition(".")[0] in SHARED}  # noqa: E731
    legal, given = shared(reference), shared(flatten(config))
    for name in sorted(given - legal):
        raise UserError(f"{what} has a field that is none, {name!r}{did_you_mean(name, legal)}")
    for name in sorted(legal - given):
        raise UserError(f"{what} lacks the field {name!r}: start from configs/common.py")


def _check_owned(config: ConfigDict, chosen: Sections, what: str) -> None:
    """Raise UserError at a field of a section that the method has not."""
    for name in flatten(config):
        if name.partition(".")[0] not in SHARED and not any(owners(name, chosen)):
            raise UserError(
                f"{what}: task {config.task.name!r} has no field {name!r}"
                f"{did_you_mean(name, chosen)}: its sections are {', '.join(chosen)}"
            )
