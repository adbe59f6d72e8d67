"""Find and execute config files.

`--config=FILE.py` is a path. If `configs/NAME.py` does not exist in the current directory, the
config shipped with the package is used: from the checkout, or from the installed wheel, which has
the folder as `gan_jax/configs`. So the documented commands work in any directory, and your own
config, anywhere, may use `from configs.common import base` or import its neighbours.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import inspect
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.files import PACKAGE
from gan_jax.core.places import place

_FOLDER = "configs"


def shipped_configs() -> Path:
    """Return the folder of the configs shipped with this package."""
    wheel, checkout = PACKAGE / _FOLDER, PACKAGE.parent / _FOLDER
    return wheel if wheel.is_dir() else checkout


def find_config(name: str) -> Path:
    """Return the file that --config=NAME refers to.

    Raises:
      UserError: there is no such file; lists the available ones.
    """
    path = place(name)
    ours = shipped_configs() / path.name
    if not path.is_file() and path.parent == Path(_FOLDER) and ours.is_file():
        path = ours
    if not path.is_file():
        there = _names(path.parent, path.parent)
        if path.parent == Path(_FOLDER) or not there:
            there |= _names(shipped_configs(), Path(_FOLDER))
        names = sorted(there)
        raise UserError(
            f"no config file {name!r}{did_you_mean(name, names)} (there are: {', '.join(names)})"
        )
    if path.suffix != ".py":
        raise UserError(f"config file {name} is not a .py file")
    return path


def _names(folder: Path, shown: Path) -> set[str]:
    """Return the paths of the configs in `folder`, written as if they were in `shown`."""
    common = ("common", "__init__")
    return {str(shown / p.name) for p in folder.glob("*.py") if not p.stem.endswith(common)}


def base_config(task: str) -> Any:
    """Return the config that every config of a method starts from: `base` of configs/common.py."""
    with _importing(shipped_configs() / "common.py"):
        return importlib.import_module(f"{_FOLDER}.common").base(task)


def run_config(path: Path, argument: str) -> Any:
    """Execute a config file and return the result of its `get_config`.

    Raises:
      UserError: there is no `get_config`, or it takes no argument; also any exception that it
        raises, in one line.
    """
    with _importing(path):
        try:
            module_spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
            module = importlib.util.module_from_spec(module_spec)
            module_spec.loader.exec_module(module)
            if not hasattr(module, "get_config"):
                raise UserError(f"config file {path} defines no get_config()")
            takes_argument = bool(inspect.signature(module.get_config).parameters)
            if argument and not takes_argument:
                raise UserError(f"config {path} takes no argument, got {argument!r}")
            return module.get_config(argument) if argument else module.get_config()
        except UserError:
            raise
        except Exception as error:
            raise UserError(_one_line(path, error)) from error


def _one_line(path: Path, error: Exception) -> str:
    """Return one line with the exception that a config file raised and its line number."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
    number = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else 0
    where = f"{path}, line {number}" if number else str(path)
    lines = traceback.format_exception_only(error)
    text = " ".join(lines[-1 if isinstance(error, SyntaxError) else 0].split())
    if isinstance(error, NameError) and error.name and "mean" not in text:  # Python 3.11
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        text += did_you_mean(error.name, {*frame.f_globals, *frame.f_locals, *vars(builtins)})
    return f"config file {where}: {text}"


@contextlib.contextmanager
def _importing(path: Path) -> Iterator[None]:
    """Let a config import `configs.common`, files in its own folder, and sibling folders.

    `sys.path` and `sys.modules` are restored: elsewhere `configs` may be another package.
    """
    folder, ours = path.resolve().parent, shipped_configs()
    package = types.ModuleType(_FOLDER)
    package.__path__ = [str(ours)]
    neighbours = []
    if folder != ours:
        neighbours = [str(folder), str(folder.parent)]
        if folder.name == _FOLDER:
            package.__path__.insert(0, str(folder))
    in_package = lambda name: name == _FOLDER or name.startswith(f"{_FOLDER}.")  # noqa: E731
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if in_package(name)}
    sys.modules[_FOLDER] = package
    sys.path[:0] = neighbours
    try:
        yield
    finally:
        for added in neighbours:
            sys.path.remove(added)
        for name in [name for name in sys.modules if in_package(name)]:
            del sys.modules[name]
        sys.modules.update(before)
