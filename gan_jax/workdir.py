"""A run is a directory that stands alone; this is its record: config, spec and environment.

Nothing here imports JAX, so that a workdir of another config is refused at once.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from gan_jax.added_fields import complete
from gan_jax.config import differences, from_json, to_json
from gan_jax.errors import UserError
from gan_jax.files import written_whole
from gan_jax.spec import DataSpec

PACKAGES = (
    "gan_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "grain",
    "tensorflow-datasets",
    "pillow",
)


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with written_whole(path) as file:
        file.write(text.encode())


def read_config(workdir: Path) -> ConfigDict:
    """Return the config of a run, with the fields that came since; UserError where no run is."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(
            f"{workdir} is not a run (it has no config.json): give --workdir=RUN of a training, or"
            " train one first with python main.py --config=... --workdir=RUN"
        )
    return complete(from_json(path.read_text()))


def read_spec(workdir: Path) -> DataSpec:
    """Return what the data of a run were, or raise UserError where that is not recorded."""
    path = workdir / "spec.json"
    if not path.is_file():
        raise UserError(f"{workdir} has no spec.json: it never began to train, repeat its training")
    return DataSpec.from_json(path.read_text())


def check_workdir(workdir: Path, config: ConfigDict) -> list[str]:
    """Compare the run that is in `workdir`, if any, with the config that is to train there.

    Returns:
      The resumable fields that change, as "name: old -> new".

    Raises:
      UserError: another run is there; the differing fields are listed, nothing is overwritten.
    """
    if (workdir / "config.json").is_file():
        refused, changed = differences(read_config(workdir), config)
        if refused:
            raise UserError(
                f"{workdir} holds a run of another config ({'; '.join(refused)}): choose another"
                " --workdir, or repeat the run's own values to resume it"
            )
        return changed
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: name a directory")
    if workdir.is_dir() and (workdir / "checkpoints").exists():
        raise UserError(f"{workdir} has checkpoints and no config.json: choose another --workdir")
    return []


def check_spec(workdir: Path, spec: DataSpec) -> None:
    """Raise UserError if a run in `workdir` was trained on other data than these."""
    if (workdir / "spec.json").is_file():
        old = read_spec(workdir)
        if old.fingerprint != spec.fingerprint:
            raise UserError(
                f"the data of {workdir} have changed since it began (fingerprint"
                f" {old.fingerprint[:12]} -> {spec.fingerprint[:12]}; counts {dict(old.counts)} ->"
                f" {dict(spec.counts)}): restore them, or train in another --workdir"
            )


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Hold `workdir` for one training; UserError while another holds it.

    A job that is started again while the one before still saves would go back to an older
    checkpoint and write over the newer one. The system frees the lock of a process that dies.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{workdir} is in use by another training, which may be saving still: wait until it"
            " has ended, or choose another --workdir"
        ) from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


def write_record(workdir: Path, config: ConfigDict, spec: DataSpec, devices: list[str]) -> None:
    """Write config.json and spec.json, and add this start to environment.json."""
    write_text(workdir / "config.json", to_json(config))
    write_text(workdir / "spec.json", spec.to_json())
    path = workdir / "environment.json"
    starts = json.loads(path.read_text())["starts"] if path.is_file() else []
    record = {"starts": [*starts, environment(spec, devices)]}
    write_text(path, json.dumps(record, indent=2) + "\n")


def environment(spec: DataSpec, devices: list[str]) -> dict[str, Any]:
    """Describe where a run runs: versions, commit, devices, data."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": devices,
        "versions": versions,
        "commit": _commit(),
        "data": spec.fingerprint,
    }


def _commit() -> str:
    """Return the commit of the source tree, with "+" when files differ; "" outside a checkout."""
    if not (Path(__file__).resolve().parents[1] / ".git").exists():
        return ""  # installed, perhaps in the repository of somebody's project
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()
