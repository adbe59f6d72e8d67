"""Files of feature statistics, compatible with pytorch-fid.

A file is `.npz` with "mu" [D] and "sigma" [D, D] in float64, as pytorch-fid reads them, and also
"count" (number of samples), "protocol" (such as "inception_v3_tf/clean"), "weights" (SHA-256 of the
network's weights, "" if unknown) and "sha256" (of all of the above). Published files with mu and
sigma only are read too, with a note that is reported with the distance.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.files import written_whole
from gan_jax.metrics.frechet import Gaussian, Moments

_OURS = ("count", "protocol", "weights", "sha256")


def write_statistics(
    path: Path, moments: Moments | Gaussian, *, protocol: str, weights: str = ""
) -> None:
    """Write the statistics of features atomically.

    Args:
      path: ends in ".npz".
      moments: moments of the features.
      protocol: network and resizing, as in metric names.
      weights: SHA-256 of the network's weights in hexadecimal.
    """
    content = dict(
        mu=np.asarray(moments.mean, np.float64),
        sigma=np.asarray(moments.covariance, np.float64),
        count=np.int64(moments.count),
        protocol=np.str_(protocol),
        weights=np.str_(weights),
    )
    with written_whole(path) as file:
        np.savez(file, **content, sha256=np.str_(_digest(content)))


def read_statistics(path: Path, *, protocol: str, dimensions: int, weights: str = "") -> Gaussian:
    """Read statistics written by this or another program.

    Args:
      path: the file.
      protocol: required protocol, checked if the file names one.
      dimensions: required number of features.
      weights: required SHA-256 of the weights, checked if the file names one; "" for any.

    Returns:
      The Gaussian; for a file without a protocol, with count 0 and a note about it.

    Raises:
      UserError: for a missing or damaged file, or another size, protocol or network.
    """
    found = _load(path)
    mean, covariance = (np.asarray(found[name], np.float64) for name in ("mu", "sigma"))
    size = mean.size
    if mean.shape != (size,) or covariance.shape != (size, size):
        raise UserError(
            f"{path}: mu {mean.shape} and sigma {covariance.shape} are not [D] and [D, D]"
        )
    if size != dimensions:
        raise UserError(
            f"{path}: statistics of {size} features, {protocol} has {dimensions}: use a file"
            " written with the same features"
        )
    if not (np.isfinite(mean).all() and np.allclose(covariance, covariance.T, rtol=1e-5)):
        raise UserError(f"{path}: mu is not finite or sigma is not symmetric: write the file anew")
    if any(name not in found for name in _OURS):
        note = f"{path.name} names no protocol: it may be of other features than {protocol}"
        return Gaussian(mean, covariance, note=note)
    if str(found["protocol"]) != protocol:
        raise UserError(
            f"{path}: statistics of protocol {str(found['protocol'])!r}, compared with"
            f" {protocol!r}: use a file of the same protocol"
        )
    if weights and str(found["weights"]) not in ("", weights):
        raise UserError(
            f"{path}: features of weights {str(found['weights'])[:12]}, compared with those of"
            f" {weights[:12]}: use a file written with the same weights"
        )
    if str(found["sha256"]) != _digest(found):
        raise UserError(f"{path}: damaged, its content is not what its SHA-256 says: write it anew")
    return Gaussian(mean, covariance, int(found["count"]))


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("mu", "sigma", *_OURS) if name in file}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: write statistics there first") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        raise UserError(f"{path}: not an .npz file of statistics, or damaged") from None
    if "mu" not in found or "sigma" not in found:
        raise UserError(f"{path}: no statistics: an .npz file with mu and sigma is needed")
    return found


def _digest(content: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in ("mu", "sigma"):
        digest.update(np.ascontiguousarray(content[name], "<f8").tobytes())
    for name in ("count", "protocol", "weights"):
        digest.update(f"{name}={content[name]}\n".encode())
    return digest.hexdigest()
