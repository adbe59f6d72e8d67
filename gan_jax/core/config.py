"""Configs: load a file, override fields, compare two runs. No JAX: mistakes are reported at once.

A config is a Python file with `get_config(arg)` returning a locked `ml_collections.ConfigDict`, as
in big_vision and other research code from Google. Overrides are parsed here rather than by
`ml_collections.config_flags`, which ends in a traceback on a mistyped field.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, Several, owners, rename, set_entry
from gan_jax.core.errors import UserError, check_choice, did_you_mean
from gan_jax.core.places import absolute_places

# Fields that may differ between a run and its continuation.
# `train.steps` may differ only if no learning rate depends on it, and the protocol of
# `eval.metrics` only if no best checkpoint is chosen by such numbers; see `_differing`.
RESUMABLE = (
    "train.steps",
    "train.parallel",
    "train.devices",
    "train.fsdp",
    "train.microbatches",
    "train.remat",
    "train.steps_per_call",
    "train.deterministic",
    "train.on_nan",
    "train.log_every",
    "train.sample_every",
    "train.save_every",
    "train.keep",
    "data.path",  # data are identified by their fingerprint
    "data.target_path",
    "data.dir",
    "data.memory_gib",
    "data.device_gib",
    "eval.every",
    "eval.batch_size",
    "eval.metrics",
    "eval.features",
    "eval.num",
)
# Optimizer fields that may change from a checkpoint on if asked for (--change), as may
# `train.batch_size` and, if a learning rate depends on it, `train.steps`.
CHANGEABLE = ("lr", "schedule", "warmup_steps", "weight_decay", "clip_norm")
RESIZE_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Return {"train.steps": 1000, ...}; empty sections are dropped."""
    flat: dict[str, Any] = {}
    for key in sorted(config):
        value = config[key]
        if isinstance(value, (ConfigDict, Mapping)):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def apply_overrides(
    config: ConfigDict, overrides: Mapping[str, str], sections: Sections | None = None
) -> None:
    """Set fields from text, in place, each parsed as the field's type.

    `model.disc=resnet` selects another factory for a section and resets its fields (`rename`);
    `terms.disc.r1=10` sets the weight of a term and adds the term if need be. Names are applied
    first, so that other overrides can set fields of the newly selected factory.

    Args:
      config: as loaded, with all defaults filled in.
      overrides: {"optim.gen.lr": "1e-4"}.
      sections: the sections that select a factory, by path.

    Raises:
      UserError: an unknown field (with the nearest match), or text that is not of its type.
    """
    sections = sections or {}
    rest = dict(overrides)
    for name, text in overrides.items():
        path = name.removesuffix(".name")
        if isinstance(choice := sections.get(path), Choice) and choice.named:
            rename(config, path, choice, text)
            del rest[name]
    for name, text in dict(rest).items():
        path, _, entry = name.rpartition(".")
        if isinstance(several := sections.get(path), Several):
            number = _parse(name, text, 0.0)
            set_entry(config, path, entry, several, number)
            del rest[name]
    fields = flatten(config)
    for name, text in rest.items():
        if name not in fields:
            raise UserError(_no_field(name, fields, sections))
        section, _, leaf = name.rpartition(".")
        target = config
        for part in section.split(".") if section else ():
            target = target[part]
        target[leaf] = _parse(name, text, target[leaf])


def as_field(name: str, value: Any, current: Any) -> Any:
    """Return a Python value converted to a field's type, or raise UserError if it does not fit."""
    if isinstance(current, str) and not isinstance(value, str):
        raise UserError(f"config field {name}={value!r} is not of type str (now {current!r})")
    return _parse(name, str(value), current)


def _no_field(name: str, fields: Mapping[str, Any], sections: Sections) -> str:
    """Return the error message for an unknown field."""
    if isinstance(sections.get(name), Several):
        return f"config.{name} holds terms: add one by --config.{name}.NAME=WEIGHT"
    inside = [field for field in fields if field.startswith(f"{name}.")]
    if inside:
        return f"config.{name} is a section: set one of {', '.join(inside)}"
    outer = name.rpartition(".")[0]
    path, _, entry = outer.rpartition(".")
    if isinstance(several := sections.get(path), Several) and entry in several.factories:
        if outer in {field.rpartition(".")[0] for field in fields}:
            there = ", ".join(several.fields(path, entry, {}))
            return f"config.{outer} has no field {name.rpartition('.')[2]!r}: it has {there}"
        return f"config.{outer} is not there: add it by --config.{outer}=WEIGHT"
    for path in owners(name, sections):
        if isinstance(choice := sections[path], Choice) and choice.named:
            holder = {f.removeprefix(f"{path}."): v for f, v in fields.items()}
            legal = choice.fields(path, holder["name"])
            hint = did_you_mean(name, [f"{path}.{field}" for field in legal])
            leaf = name.removeprefix(f"{path}.")
            return (
                f"no config field {name!r}{hint}: {path}={holder['name']} has no {leaf!r}, it has"
                f" {', '.join(legal) or 'none'}"
            )
    return f"no config field {name!r}{did_you_mean(name, fields)}"


def _parse(name: str, text: str, current: Any) -> Any:
    if isinstance(current, str):
        return text
    try:
        value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, TypeError, SyntaxError):
        value = text
    if isinstance(current, (list, tuple)) and isinstance(value, (list, tuple)):
        # The length may change, as for a list of widths; the first entry gives the type.
        return tuple(_parse(name, str(item), current[0]) if current else item for item in value)
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(current, int) and isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e5 steps
    if type(value) is not type(current):
        raise UserError(
            f"config field {name}={text!r} is not of type {type(current).__name__}"
            f" (now {current!r})"
        )
    return value


def from_dict(record: Mapping[str, Any]) -> ConfigDict:
    """Return the config that was written as JSON; lists become tuples again."""

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            return ConfigDict({key: restore(item) for key, item in value.items()})
        return tuple(restore(item) for item in value) if isinstance(value, list) else value

    config = restore(record)
    config.lock()
    return config


def differences(
    old: ConfigDict, new: ConfigDict, *, change: bool = False
) -> tuple[list[str], list[str]]:
    """Compare the config of a run with the one that would continue it.

    Args:
      old: config of the run.
      new: config of its continuation.
      change: whether to allow differences that affect the training from here on, see `deliberate`.

    Returns:
      (refused, changed): the differing fields that must not differ and those that may, each as
      "name: old -> new".
    """
    wanted = deliberate(old, new) if change else {}
    refused, changed = [], []
    for name, (a, b, free) in _differing(old, new).items():
        (changed if free or name in wanted else refused).append(f"{name}: {a!r} -> {b!r}")
    return refused, changed


def deliberate(old: ConfigDict, new: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Return the differing fields that only --change allows, as {name: (old, new)}."""

    def may(name: str) -> bool:
        if name == "train.batch_size":
            return not counts_images(old) and not counts_images(new)
        section, _, leaf = name.rpartition(".")
        return name == "train.steps" or (section.startswith("optim.") and leaf in CHANGEABLE)

    found = _differing(old, new)
    return {name: (a, b) for name, (a, b, free) in found.items() if not free and may(name)}


def counts_images(config: ConfigDict) -> list[str]:
    """Return the fields whose schedule counts images and so assumes a constant batch size."""
    task = config.task
    growth = task.get("growth", {})
    counting = {"task.growth": "stage_images" in growth}  # stages of growing networks
    counting["task.top_k"] = task.get("top_k", 1.0) < 1  # epochs
    for net, section in config.optim.items():
        counting[f"optim.{net}.schedule"] = "warmup_images" in section.schedule
    return [name for name, counts in counting.items() if counts]


def _differing(old: ConfigDict, new: ConfigDict) -> dict[str, tuple[Any, Any, bool]]:
    """Return {name: (old, new, whether it may always differ)}; paths compare as absolute paths."""
    before, after = flatten(old), flatten(new)
    meant = [flatten(absolute_places(config)) for config in (old, new)]
    scheduled = any(
        not str(v).startswith("constant") for k, v in after.items() if k.endswith(".schedule")
    )
    fixed = {"train.steps"} if scheduled else set()
    if before.get("eval.metrics") and before.get("eval.best"):
        fixed |= {"eval.features", "eval.num"}
    return {
        name: (
            before.get(name, "absent"),
            after.get(name, "absent"),
            name in RESUMABLE and name not in fixed,
        )
        for name in sorted(before.keys() | after.keys())
        if meant[0].get(name, "absent") != meant[1].get(name, "absent")
    }


def check_config(config: ConfigDict) -> None:
    """Check what can be checked without JAX and without the data.

    Raises:
      UserError: names the field, its value, and the legal values.
    """
    check_choice("train.parallel", config.train.parallel, ("jit", "pmap"))
    check_choice("train.precision", config.train.precision, ("float32", "bfloat16"))
    check_choice("train.on_nan", config.train.on_nan, ("stop", "rollback"))
    check_choice("data.resize", config.data.resize, RESIZE_FILTERS)
    check_choice("data.on_error", config.data.on_error, ("raise", "skip"))
    check_choice("data.fit", config.data.fit, ("stretch", "crop", "pad", "windows"))
    check_choice("data.channels", config.data.channels, (0, 1, 3, 4))
    at_least = {
        "train.steps": 1,
        "train.batch_size": 1,
        "train.log_every": 1,
        "train.sample_every": 0,
        "train.save_every": 1,
        "train.keep": 1,
        "train.devices": 0,
        "train.fsdp": 1,
        "train.microbatches": 1,
        "train.steps_per_call": 0,
        "train.ema_start": 0,
        "eval.every": 0,
        "eval.batch_size": 1,
        "eval.grid": 1,
        "eval.num": 0,
        "data.white": 0,
    }
    best_metric(config.eval.best)
    if split_names("eval.metrics", config.eval.metrics) and not config.eval.every:
        raise UserError(
            f"eval.metrics={config.eval.metrics} are never measured with eval.every=0: set"
            " eval.every, or use --mode=eval after training"
        )
    if config.data.white and (config.data.source != "folder" or config.data.white >= 2**16):
        raise UserError(
            f"data.white={config.data.white}: of the 16-bit files of an image folder, below 65536"
        )
    fields = flatten(config)
    for name, least in at_least.items():
        if fields[name] < least:
            raise UserError(f"{name}={fields[name]}: at least {least}")
    for name, value in fields.items():
        if name.startswith("optim.") and name.endswith(".lr") and value <= 0:
            raise UserError(f"{name}={value}: a learning rate is above 0")
    check_seed("seed", config.seed)
    if not 0 <= config.train.ema_half_life < math.inf:
        raise UserError(
            f"train.ema_half_life={config.train.ema_half_life}: images, above 0, or 0 for ema_decay"
        )
    if not 0 <= config.train.ema_decay < 1:
        raise UserError(f"train.ema_decay={config.train.ema_decay}: in [0, 1), 0 keeps no average")


def check_seed(what: str, seed: Any) -> None:
    """Raise UserError unless `seed` is an integer in [0, 2^32): JAX takes others modulo 2^32.

    Args:
      what: name of the flag or field, for the error message.
      seed: a Python or NumPy integer.
    """
    try:
        fits = 0 <= operator.index(seed) < 2**32
    except TypeError:
        fits = False
    if not fits:
        raise UserError(f"{what}={seed}: a whole number in [0, 2^32)")


def best_metric(best: str) -> str:
    """Return the metric in `eval.best`: "max:accuracy" -> "accuracy", "" -> "".

    Raises:
      UserError: not of the form max:METRIC or min:METRIC.
    """
    mode, _, metric = best.partition(":")
    if best and (mode not in ("max", "min") or not metric):
        raise UserError(f"eval.best={best!r}: of the form max:METRIC or min:METRIC, or empty")
    return metric


def split_names(what: str, text: str) -> tuple[str, ...]:
    """Return the names in "fid,kid"; () for "".

    Raises:
      UserError: an empty or repeated name.
    """
    names = tuple(text.split(",")) if text else ()
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"{what}={text}: names with commas between, each once, such as fid,prdc")
    return names


def split_overrides(arguments: Iterable[str], prefix: str) -> tuple[dict[str, str], list[str]]:
    """Separate "--PREFIXname=value" arguments from the rest.

    Returns:
      ({name: value}, the other arguments).

    Raises:
      UserError: an argument with the prefix but no "=".
    """
    found, rest = {}, []
    for argument in arguments:
        if argument.startswith(prefix):
            name, equals, value = argument[len(prefix) :].partition("=")
            if not equals:
                raise UserError(f"{argument} has no value: write {argument}=VALUE")
            found[name] = value
        else:
            rest.append(argument)
    return found, rest
