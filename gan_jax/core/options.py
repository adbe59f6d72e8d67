"""Options of `generate` and `transform`, as shown by the command line and the notebooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gan_jax.core.errors import UserError, check_choice, did_you_mean


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of `generate` or `transform`; the command line and the notebooks read it from here.

    Attributes:
      default: used when the option is not given; its type is the option's type.
      help: one line, with the unit.
      low, high: closed range of a number, None for no bound.
      choices: the legal values of a string.
    """

    default: float | int | bool | str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Convert `value` (text or typed) to this option's type, or raise UserError."""
        kind = type(self.default)
        try:
            if kind is bool and isinstance(value, str):
                value = {"true": True, "1": True, "false": False, "0": False}[value.lower()]
            value = kind(value)
        except (KeyError, ValueError, TypeError):
            raise UserError(f"option {name}={value!r} is not of type {kind.__name__}") from None
        if self.choices:
            check_choice(f"option {name}", value, self.choices)
        too_low = self.low is not None and value < self.low
        if too_low or (self.high is not None and value > self.high):
            raise UserError(f"option {name}={value} is outside [{self.low}, {self.high}]")
        return value


def check_options(
    owner: str, options: Mapping[str, Option], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all options of `owner`, defaults filled in; raise UserError on unknown or bad ones."""
    for name in given:
        if name not in options:
            known = ", ".join(sorted(options)) or "it has none"
            hint = did_you_mean(name, options)
            raise UserError(f"option {name!r} is not one of {owner}: {known}{hint}")
    return {
        name: option.check(name, given.get(name, option.default))
        for name, option in options.items()
    }


WEIGHTS = Option("ema", "which weights: moving average (ema) or last (raw)", choices=("ema", "raw"))
