"""pandas, an extra that only tables of runs and of their logs need, imported when they do."""

from __future__ import annotations

from types import ModuleType

from gan_jax.core.errors import UserError


def pandas_for(what: str) -> ModuleType:
    """Return pandas, or raise UserError where it is not installed.

    Args:
      what: needs it.
    """
    try:
        import pandas
    except ImportError:
        raise UserError(f"{what} needs pandas: pip install pandas") from None
    return pandas
