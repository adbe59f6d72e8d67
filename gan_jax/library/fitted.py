"""Arrays fitted to the training images after training, stored in RUN/fitted/.

Each file holds the digest of its checkpoint; loading a run reads only those of that checkpoint.
"""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.files import written_whole
from gan_jax.core.keys import named_keys
from gan_jax.core.state import TrainState
from gan_jax.core.task import Fit, Task
from gan_jax.data import Split
from gan_jax.data.pipeline import eval_batches, prefetch
from gan_jax.parallel.mesh import Parallel
from gan_jax.rundir.checkpoint import digest_of

logger = logging.getLogger(__name__)

FOLDER, CHECKPOINT = "fitted", "checkpoint_sha256"


def select_fits(task: Task, name: str) -> dict[str, Fit]:
    """Return the fits of a task by name; "" selects all.

    Raises:
      UserError: the task has no fits, or none of that name.
    """
    if not task.fits:
        raise UserError(f"task {task.name!r} has nothing to fit after training")
    if name:
        check_choice(f"fit of task {task.name!r}", name, task.fits)
    return {k: fit for k, fit in task.fits.items() if name in ("", k)}


def fit(
    fits: Mapping[str, Fit],
    state: TrainState,
    split: Split,
    parallel: Parallel,
    *,
    batch_size: int,
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Run fits on the examples of a split; return the arrays of each by name.

    Args:
      fits: as from `select_fits`.
      state: state of the run.
      split: the training examples.
      parallel: the devices.
      batch_size: examples per batch, over all devices.
      seed: seed for random draws.
    """
    key = parallel.replicate(lambda: named_keys(seed)["evaluate"])
    found = {}
    for name, one in fits.items():
        step, rows = parallel.compile_map(one.rows), []
        for batch in prefetch(eval_batches(split, batch_size), parallel.place):
            made, mask = jax.device_get((step(state, batch, key), batch["mask"]))
            rows.append({k: np.asarray(x)[mask > 0] for k, x in made.items()})
        whole = {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}
        found[name] = {k: np.asarray(x) for k, x in one.finish(whole).items()}
    return found


def write_fitted(workdir: Path, step: int, found: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Write the fitted arrays of a checkpoint; return the files."""
    digest, files = digest_of(workdir / "checkpoints", step), []
    for name, arrays in found.items():
        files.append(workdir / FOLDER / f"{name}.npz")
        with written_whole(files[-1]) as file:
            np.savez(file, **{CHECKPOINT: np.str_(digest)}, **arrays)
    return files


def read_fitted(workdir: Path, step: int) -> dict[str, dict[str, np.ndarray]]:
    """Return the fitted arrays of a checkpoint by name; log files that belong to another."""
    found, digest = {}, ""
    for path in sorted((workdir / FOLDER).glob("*.npz")):
        digest = digest or digest_of(workdir / "checkpoints", step)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("%s is left out (%s): run --mode=fit again", path, error)
            continue
        if str(arrays.pop(CHECKPOINT, "")) == digest:
            found[path.stem] = arrays
        else:
            logger.info("%s is of another checkpoint than %d", path, step)
    return found
