"""External code that a config names: "my_package.module:Factory".

Its directory must be on the Python path (PYTHONPATH, or the current directory). A config file and
flags come from the user and may name any code. A run may come from a stranger and must not execute
anything: the code it names is imported only if the caller allows it (`--trust-code`,
`gan_jax.load(..., trust_code=True)`).
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from gan_jax.core.errors import UserError, did_you_mean

_trusted: contextvars.ContextVar[bool] = contextvars.ContextVar("trusted", default=False)


def is_outside(name: Any) -> bool:
    """Return whether a name refers to external code."""
    return isinstance(name, str) and ":" in name


@contextlib.contextmanager
def trusting(trusted: bool = True) -> Iterator[None]:
    """Allow external code to be imported in a block; False keeps the setting around the block."""
    token = _trusted.set(trusted or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def call_outside(where: str, name: str, returns: type, *args: Any, **kwargs: Any) -> Any:
    """Call external code.

    Args:
      where: the config field, for error messages.
      name: "MODULE:ATTRIBUTE".
      returns: the type that it must return.
      *args, **kwargs: its arguments.

    Raises:
      UserError: as `import_outside`; or it does not accept the arguments, or returns another type.
    """
    factory = import_outside(where, name)
    try:
        value = factory(*args, **kwargs)
    except TypeError as error:
        raise UserError(f"{where}={name} can't be called as it is: {error}") from None
    if not isinstance(value, returns):
        kind = f"{returns.__module__}.{returns.__qualname__}"
        raise UserError(f"{where}={name} returned {value!r:.60}: a {kind}")
    return value


def import_outside(where: str, name: str) -> Callable[..., Any]:
    """Return the callable "MODULE:ATTRIBUTE".

    Args:
      where: the config field, for error messages.
      name: "MODULE:ATTRIBUTE".

    Raises:
      UserError: not trusted, not found, or not callable.
    """
    if not _trusted.get():
        raise UserError(
            f"{where}={name} is code from outside of gan_jax, and to load this run would execute"
            " it: if you trust it, say --trust-code (gan_jax.load(..., trust_code=True))"
        )
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{where}={name}: {error}: put the directory of {module.partition('.')[0]} on the path,"
            " such as PYTHONPATH=DIR"
        ) from None
    except Exception as error:
        raise UserError(f"{where}={name}: importing it raised {error!r}") from None
    value = getattr(found, attribute, None)
    if not callable(value):
        there = [key for key, x in vars(found).items() if callable(x) and not key.startswith("_")]
        raise UserError(
            f"{where}={name}: {module} has no {attribute!r} to call"
            f"{did_you_mean(attribute, there)}: it has {', '.join(there) or 'none'}"
        )
    return value
