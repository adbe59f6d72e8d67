"""The record of a run in its self-contained directory: config, spec and environment.

A run begins with its first checkpoint: a directory without one, left by a training that was killed
early, may be used for a new training with any config. The record is written before the folder of
checkpoints is created. Nothing here imports JAX, so that a conflicting config is refused at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from gan_jax.core.config import counts_images, deliberate, differences, from_dict
from gan_jax.core.errors import UserError
from gan_jax.core.files import PACKAGE, written_whole
from gan_jax.core.places import DATA, absolute_places
from gan_jax.core.spec import DataSpec
from gan_jax.rundir.schema import SCHEMA, migrated

logger = logging.getLogger(__name__)

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
    """Write a small text file atomically."""
    with written_whole(path) as file:
        file.write(text.encode())


def read_config(workdir: Path) -> ConfigDict:
    """Return the config of a run in the current schema; UserError if there is no run."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(
            f"{workdir} is not a run (it has no config.json): give --workdir=RUN of a training, or"
            " train one first with python main.py --config=... --workdir=RUN"
        )
    return from_dict(migrated(workdir, json.loads(path.read_text())))


def _write_config(workdir: Path, config: ConfigDict) -> None:
    record = {"schema": SCHEMA, **config.to_dict()}
    write_text(workdir / "config.json", json.dumps(record, indent=2, sort_keys=True) + "\n")


def read_spec(workdir: Path) -> DataSpec:
    """Return the spec of a run's data, or raise UserError if it is not recorded."""
    path = workdir / "spec.json"
    if not path.is_file():
        raise UserError(f"{workdir} has no spec.json: it never began to train, repeat its training")
    return DataSpec.from_json(path.read_text())


def saved_steps(directory: Path) -> list[int]:
    """Return the steps in a folder of checkpoints, intact or not, without reading them."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def has_begun(workdir: Path) -> bool:
    """Return whether a run in `workdir` has saved a checkpoint."""
    return bool(saved_steps(workdir / "checkpoints"))


def check_workdir(workdir: Path, config: ConfigDict, *, change: bool = False) -> list[str]:
    """Compare the run in `workdir`, if any, with the config to be trained there.

    Args:
      workdir: the run's directory.
      config: config of its continuation.
      change: whether to allow differences that affect the training from here on.

    Returns:
      The fields that change, as "name: old -> new".

    Raises:
      UserError: the directory holds another run; lists the differing fields. Nothing is written.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: name a directory")
    if not has_begun(workdir):
        return []
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir} has checkpoints and no config.json: choose another --workdir")
    old = read_config(workdir)
    refused, changed = differences(old, config, change=change)
    if not refused:
        return changed
    names = [text.partition(":")[0] for text in refused]
    able = [name for name in deliberate(old, config) if name in names]
    hint = f"; --change lets {', '.join(able)} differ from the last checkpoint on" if able else ""
    if "train.batch_size" in names and "train.batch_size" not in able:
        counting = ", ".join(dict.fromkeys([*counts_images(old), *counts_images(config)]))
        hint += f"; {counting} counts images in batches of train.batch_size"
    raise UserError(
        f"{workdir} holds a run of another config ({'; '.join(refused)}): choose another"
        f" --workdir, or repeat the run's own values to resume it{hint}"
    )


def check_spec(
    workdir: Path, spec: DataSpec, *, source: str = "", change: bool = False
) -> DataSpec:
    """Compare the recorded data of the run in `workdir`, if any, with the opened data.

    Args:
      workdir: the run's directory.
      spec: spec of the opened data.
      source: `data.source`.
      change: whether a folder's files may differ from those of the run.

    Returns:
      The spec of the run: the recorded one if the data are the same, whatever their path and name;
      the recorded one with new counts and fingerprint if they changed; `spec` if no run has begun.

    Raises:
      UserError: the data changed in a way that `change` does not allow.
    """
    if not has_begun(workdir) or not (workdir / "spec.json").is_file():
        return spec
    old = read_spec(workdir)
    if old.same_data(spec):
        return old
    how = {name for name in old.preprocess if name in spec.preprocess and name != "skipped"}
    kind = lambda s: (s.streams, s.class_names, [s.preprocess[name] for name in how])  # noqa: E731
    # Only a folder holds images out by name, and photographs are held out always; elsewhere a new
    # example would change the splits.
    able = source in ("folder", "photographs") and kind(old) == kind(spec)
    if able and change:
        return dataclasses.replace(old, counts=spec.counts, fingerprint=spec.fingerprint, former=())
    fix = ", or go on with them as they are now by --change" if able else ""
    raise UserError(
        f"the data of {workdir} have changed since it began (fingerprint {old} -> {spec}): restore"
        f" them{fix}, or train in another --workdir"
    )


def remember_places(workdir: Path, config: ConfigDict) -> None:
    """Update the paths of the data in a run's config.json if they differ.

    Args:
      workdir: the run's directory.
      config: a config with the new paths, whose data are known to be those of the run.
    """
    kept, now = read_config(workdir), absolute_places(config)
    for section, field in (name.split(".") for name in DATA):
        kept[section][field] = now[section][field]
    if kept == read_config(workdir):
        return
    try:
        _write_config(workdir, kept)
    except OSError as error:  # someone else's run may be read-only
        logger.warning("cannot remember in %s where its data are: %s", workdir, error)


def in_use(workdir: Path) -> bool:
    """Return whether a training holds the lock of `workdir`, on this or another machine."""
    path = workdir / ".lock"
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        # The timeout is for other calls of `in_use`, which hold the lock briefly.
        lock.acquire(timeout=0.1, poll_interval=0.02)
    except Timeout:
        return True
    except (NotImplementedError, OSError):  # file system without locks, or no permission
        return False
    lock.release()
    return False


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Lock `workdir` for one training; raise UserError if another holds the lock.

    A job that is restarted while the previous one is still saving would resume from an older
    checkpoint and overwrite the newer one. The system releases the lock of a process that dies.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / ".lock")
    try:
        lock.acquire(timeout=1)  # `in_use` may hold it briefly
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
    """Write config.json and spec.json, and append this start of the run to environment.json.

    Earlier starts and changes are dropped if the run has not begun.
    """
    if not has_begun(workdir):
        (workdir / "changes.json").unlink(missing_ok=True)
    _write_config(workdir, config)
    write_text(workdir / "spec.json", spec.to_json())
    path = workdir / "environment.json"
    known = has_begun(workdir) and path.is_file()
    starts = json.loads(path.read_text())["starts"] if known else []
    record = {"starts": [*starts, environment(spec, devices)]}
    write_text(path, json.dumps(record, indent=2) + "\n")


def environment(spec: DataSpec, devices: list[str]) -> dict[str, Any]:
    """Describe the environment of a run: versions, commit, devices, data."""
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
    """Return the commit of the source tree, with "+" if files differ; "" outside a checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return ""  # installed, perhaps inside another project's repository
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()
