"""A process of a part: `python -m benchmarks.parts.serve MODULE:FUNCTION JSON`.

FUNCTION(**JSON) prepares (imports, builds, compiles) and returns the functions that the process
serves, by name; their results are dicts. The process is then ready and serves requests, see
`benchmarks/processes.py`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.processes import obey


def main(name: str, given: str) -> None:
    """Prepare, then serve requests."""
    module, _, function = name.partition(":")

    def prepare() -> tuple[dict[str, Any], Mapping[str, Callable[..., dict[str, Any]]]]:
        began = time.perf_counter()
        functions = dict(getattr(importlib.import_module(module), function)(**json.loads(given)))
        first = functions.pop("first", {})
        return {"seconds": time.perf_counter() - began, **first}, functions

    obey(prepare)


if __name__ == "__main__":
    main(*sys.argv[1:])
