"""Places on the disk that a person names: the same on the command line, in a config and in Python.

`~`, `$HOME` and other variables of the environment are written out; a config is kept with absolute
places, so that a run means the same files wherever it is used from. Imports no JAX.
"""

from __future__ import annotations

import os
from pathlib import Path

from ml_collections import ConfigDict

CNN = "cnn:"  # a feature network that is a run: cnn:RUN
# Where the data are. What they are is their fingerprint, so that these may change.
DATA = ("data.path", "data.target_path", "data.dir")
# And what else a run may be told of its data where it is used.
DATA_FIELDS = (*DATA, "data.on_error", "data.memory_gib")


def place(text: str | Path) -> Path:
    """Return a path with `~` and variables such as `$HOME` written out."""
    return Path(os.path.expandvars(text)).expanduser()


def absolute_places(config: ConfigDict) -> ConfigDict:
    """Return a copy of a config whose places are absolute."""
    config = ConfigDict(config, convert_dict=False).copy_and_resolve_references()
    with config.unlocked():
        for section, field in (name.split(".") for name in (*DATA, "train.init_from")):
            if is_place(config, f"{section}.{field}"):
                config[section][field] = str(place(config[section][field]).absolute())
        if config.eval.features.startswith(CNN):
            run = config.eval.features.removeprefix(CNN)
            config.eval.features = f"{CNN}{place(run).absolute()}"
    return config


def is_place(config: ConfigDict, name: str) -> bool:
    """Return whether a field of a config names a place: one that is empty names none."""
    section, field = name.split(".")
    source = config.data.source
    used = {
        "data.path": source in ("folder", "npz"),
        "data.target_path": source == "folder",
        "data.dir": source == "tfds",
    }
    return bool(config[section][field]) and used.get(name, True)
