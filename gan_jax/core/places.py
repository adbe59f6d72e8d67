"""Paths given by the user: treated alike on the command line, in a config and in Python.

`~`, `$HOME` and other environment variables are expanded. A run stores its config with absolute
paths, so that they mean the same files from any working directory. Imports no JAX.
"""

from __future__ import annotations

import os
from pathlib import Path

from ml_collections import ConfigDict

CNN = "cnn:"  # prefix for a run used as feature network: cnn:RUN
# Paths of the data. They may change, since the data are identified by their fingerprint.
DATA = ("data.path", "data.target_path", "data.dir")
# Other fields that hold paths; "task.vgg" is of SRGAN only.
OTHERS = ("train.init_from", "task.vgg")
# All data fields that may be overridden when a run is loaded.
DATA_FIELDS = (*DATA, "data.on_error", "data.memory_gib")


def place(text: str | Path) -> Path:
    """Return a path with `~` and variables such as `$HOME` expanded."""
    return Path(os.path.expandvars(text)).expanduser()


def absolute_places(config: ConfigDict) -> ConfigDict:
    """Return a copy of a config with absolute paths."""
    config = ConfigDict(config, convert_dict=False).copy_and_resolve_references()
    with config.unlocked():
        for section, field in (name.split(".") for name in (*DATA, *OTHERS)):
            if is_place(config, f"{section}.{field}"):
                config[section][field] = str(place(config[section][field]).absolute())
        if config.eval.features.startswith(CNN):
            run = config.eval.features.removeprefix(CNN)
            config.eval.features = f"{CNN}{place(run).absolute()}"
    return config


def is_place(config: ConfigDict, name: str) -> bool:
    """Return whether a config field holds a path (not empty, and used by the data source)."""
    section, field = name.split(".")
    source = config.data.source
    used = {
        "data.path": source in ("folder", "npz", "photographs"),
        "data.target_path": source == "folder",
        "data.dir": source == "tfds",
    }
    return bool(config[section].get(field)) and used.get(name, True)
