"""Config sections that select a factory by name: a network, an optimizer, a loss term.

A section is `{name: ..., **keyword arguments of the factory of that name}`. Its legal fields are
read from the factory's signature, so there is no second list of fields, and none that nothing
reads. The task supplies the remaining arguments: sizes, classes, other networks.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, check_choice, did_you_mean
from gan_jax.core.outside import call_outside, import_outside, is_outside

REQUIRED = inspect.Parameter.empty
SECTION = (ConfigDict, Mapping)
MODULE = ("parent", "name")  # parameters that every Flax module has


@dataclasses.dataclass(frozen=True)
class Choice:
    """A section that selects one of several factories.

    Attributes:
      factories: by name. If the only key is "", the section has no field `name`.
      given: parameters that the task fills in; they are not config fields.
      default: the name used if the config has no such section.
      returns: the type that an external factory (`core.outside`) must return. None: external
        factories are not allowed.
    """

    factories: Mapping[str, Callable[..., Any]]
    given: tuple[str, ...] = ()
    default: str = ""
    returns: type | None = None

    @property
    def named(self) -> bool:
        """Whether the section has a field `name`."""
        return tuple(self.factories) != ("",)

    def factory(self, where: str, name: str) -> Callable[..., Any]:
        """Return the factory of a name, which may be external code.

        Raises:
          UserError: there is no such factory.
        """
        if self.returns and is_outside(name):
            return import_outside(where, name)
        check_choice(where, name, self.factories)
        return self.factories[name]

    def fields(self, where: str, name: str) -> dict[str, Any]:
        """Return the fields of a factory with their defaults (`REQUIRED` if it has none)."""
        given = (*self.given, *MODULE)
        taken = parameters(self.factory(where, name))
        return {key: default for key, default in taken.items() if key not in given}

    def call(
        self, where: str, name: str, fields: Mapping[str, Any], given: Mapping[str, Any]
    ) -> Any:
        """Call the factory of a name with all fields, and with those `given` that it accepts.

        Raises:
          UserError: there is no such factory, or an external one does not accept these arguments
            or returns another type.
        """
        factory = self.factory(where, name)
        takes = parameters(factory)
        keywords = {**fields, **{key: value for key, value in given.items() if key in takes}}
        if self.returns and is_outside(name):
            return call_outside(where, name, self.returns, **keywords)
        return factory(**keywords)


@dataclasses.dataclass(frozen=True)
class Several:
    """A section of any number of entries, each of which selects a factory: the terms of a loss.

    An entry selects the factory of its own name, or of its field `name` if it has one.

    Attributes:
      factories: by name.
      given: as in `Choice`.
      common: fields that every entry has besides its factory's, with their defaults.
      short: the field that a bare number sets.
      returns: as in `Choice`.
    """

    factories: Mapping[str, Callable[..., Any]]
    given: tuple[str, ...]
    common: Mapping[str, Any]
    short: str
    returns: type | None = None

    @property
    def one(self) -> Choice:
        """The choice that each entry makes."""
        return Choice(self.factories, self.given, returns=self.returns)

    def fields(self, where: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an entry with their defaults (`REQUIRED` if it has none)."""
        named = {"name": REQUIRED} if "name" in entry else {}
        own = self.one.fields(where, entry.get("name", name))
        return {**named, **self.common, **own}


Sections = Mapping[str, Choice | Several]


def build(where: str, section: Mapping[str, Any], choice: Choice, **given: Any) -> Any:
    """Call the factory that a section selects, with its fields and the task's arguments.

    Args:
      where: path of the section, for error messages.
      section: with all defaults filled in (see `complete`); nested sections are ignored.
      choice: what the section selects from.
      **given: arguments from the task; those that the factory has no parameter for are dropped.
    """
    fields = {key: value for key, value in section.items() if not isinstance(value, SECTION)}
    name = fields.pop("name") if choice.named else ""
    return choice.call(f"{where}.name", name, fields, given)


def parameters(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of a factory with their defaults (`REQUIRED` if it has none)."""
    found = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def complete(config: ConfigDict, sections: Sections) -> None:
    """Fill in the defaults of every section that selects a factory, in place.

    A section may also be given as a bare name.

    Args:
      config: from a file or a run, with or without defaults.
      sections: by path, each outer section before those nested in it.

    Raises:
      UserError: an unknown name or field, or a missing field that has no default.
    """
    with config.unlocked():
        for path, choice in sections.items():
            if isinstance(choice, Several):
                holder = _section(config, path)
                for name in list(holder):
                    entry = _entry(path, name, holder[name], choice)
                    del holder[name]
                    holder[name] = entry
                continue
            outer, _, leaf = path.rpartition(".")
            holder = _section(config, outer)
            given = holder.get(leaf, {})
            given = {"name": given} if isinstance(given, str) else _fields(path, given)
            inner = {key for other in sections if (key := _within(other, path))}
            found = _completed(path, given, choice, inner)
            if leaf in holder:  # ConfigDict refuses to replace a string with a section
                del holder[leaf]
            holder[leaf] = found


def _within(other: str, path: str) -> str:
    """Return the name of section `other` within section `path`, "" if it is not nested there."""
    return other.removeprefix(f"{path}.").partition(".")[0] if other.startswith(f"{path}.") else ""


def _completed(path: str, given: dict[str, Any], choice: Choice, inner: set[str]) -> ConfigDict:
    name = given.pop("name", choice.default) if choice.named else ""
    legal = choice.fields(f"config.{path}.name", name)
    inside = {key: given.pop(key) for key in inner if key in given}
    filled = _filled(path, name, given, legal)
    return ConfigDict({**({"name": name} if choice.named else {}), **filled, **inside})


def _fields(path: str, given: Any) -> dict[str, Any]:
    """Return the fields of a section, or raise UserError if it is not a section."""
    if not isinstance(given, SECTION):
        raise UserError(f"config.{path}={given!r:.60} is no section: a name, or fields")
    return dict(given)


def _entry(path: str, name: str, given: Any, choice: Several) -> ConfigDict:
    if isinstance(given, (int, float)):
        given = {choice.short: float(given)}
    given = _fields(f"{path}.{name}", given)
    legal = choice.fields(f"config.{path} (a term)", name, given)
    return ConfigDict(_filled(f"{path}.{name}", "", given, legal))


def _filled(
    path: str, name: str, given: dict[str, Any], legal: Mapping[str, Any]
) -> dict[str, Any]:
    for key in given:
        if key not in legal:
            hint = did_you_mean(f"{path}.{key}", [f"{path}.{field}" for field in legal])
            there = f"{path}={name}" if name else path
            raise UserError(
                f"no config field {f'{path}.{key}'!r}{hint}: {there} has"
                f" {', '.join(legal) or 'none'}"
            )
    for key, default in legal.items():
        if default is REQUIRED and key not in given:
            raise UserError(f"the field {f'{path}.{key}'!r} is not there")
    return {
        key: _typed(given[key], default) if key in given else default
        for key, default in legal.items()
    }


def _typed(value: Any, default: Any) -> Any:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value


def rename(config: ConfigDict, path: str, choice: Choice, name: str) -> None:
    """Let a section select another factory, in place.

    Fields that both factories have keep values other than the old default; all other fields take
    the new factory's defaults.

    Args:
      config: with all defaults filled in.
      path: path of the section.
      choice: what the section selects from.
      name: name of the new factory.
    """
    where = f"config.{path}.name"
    outer, _, leaf = path.rpartition(".")
    with config.unlocked():
        holder = _section(config, outer)
        old, new = holder[leaf], choice.fields(where, name)
        before = choice.fields(where, old.name)
        kept = {key: old[key] for key in before if key in new and old[key] != before[key]}
        inside = {key: x for key, x in old.items() if key not in before and key != "name"}
        lacking = [key for key, x in new.items() if x is REQUIRED and key not in kept]
        if lacking:
            raise UserError(
                f"config.{path}={name} needs {path}.{lacking[0]}, which has no default: give it"
                " one, or choose both in a config file"
            )
        holder[leaf] = ConfigDict({"name": name, **new, **kept, **inside})


def set_entry(config: ConfigDict, path: str, name: str, choice: Several, number: float) -> None:
    """Set the `short` field of an entry, adding the entry if need be; 0 removes the entry.

    Args:
      config: with all defaults filled in.
      path: path of the section that holds the entries.
      name: name of the entry.
      choice: what the entries select from.
      number: the value.
    """
    with config.unlocked():
        holder = _section(config, path)
        if not number:
            check_choice(f"config.{path} (a term)", name, choice.factories)
            if name in holder:
                del holder[name]
            return
        kept = dict(holder.get(name, {}))
        holder[name] = _entry(path, name, {**kept, choice.short: number}, choice)


def owners(name: str, sections: Sections) -> Iterator[str]:
    """Yield the paths of the sections that contain a field, innermost first."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ".".join(parts[:end])
        if path in sections:
            yield path


def _section(config: ConfigDict, path: str) -> ConfigDict:
    for part in path.split(".") if path else ():
        if part not in config:
            config[part] = ConfigDict()
        config = config[part]
        _fields(path, config)
    return config
