"""Extractor: the record that a feature network is to metrics; `make_extractor` knows them all.

Images come as they are stored, uint8 of any size, and a network prepares them for itself: the
resizing filter is a part of what is measured, and so of the extractor's name.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import UserError, did_you_mean
from gan_jax.features.resize import preprocess
from gan_jax.places import CNN, place
from gan_jax.run import load
from gan_jax.workdir import read_config

Features = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Extractor:
    """A feature network.

    Attributes:
      name: the protocol part of a metric's name: "inception_v3_tf/clean", "cnn:RUNNAME", ...
      dimensions: D.
      variables: pytree of host arrays, to be placed once and passed to `apply`, never closed over.
      apply: (variables, images uint8 [B, H, W, C] of any size, C in 1, 3, 4) -> {"features": [B, D]
        float32, "logits": [B, K] float32}; without "logits" where the network has no classes. Pure,
        to be compiled by the caller, who passes batches of one size.
    """

    name: str
    dimensions: int
    variables: Any
    apply: Callable[[Any, jax.Array], Features]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the name and the variables: equal where features may be compared."""
        digest = hashlib.sha256(self.name.encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()


def make_extractor(
    name: str, *, weights: str | Path | None = None, resize: str = "clean"
) -> Extractor:
    """Open a feature network.

    Args:
      name: "inception_v3_tf", "inception_v3_torchvision", "efficientnet_lite0", or "cnn:RUN", where
        RUN is the directory of a classifier that this project trained.
      weights: file of the weights; None for the published ones, where they are kept; "download"
        gets those from their address if they are not there.
      resize: "clean" or "tf_legacy", see `gan_jax.features.resize`.

    Raises:
      UserError: for an unknown name, weights that are not there or fit another network, a run that
        is not a classifier, or a file of weights or a resizing for one: a run has its own.
    """
    # Imported here: they import Extractor from this file.
    from gan_jax.features import efficientnet_extractor, inception_weights

    if name.startswith(CNN):
        if weights is not None or resize != "clean":
            raise UserError(f"features={name}: a run has its own weights and resizing")
        return _of_run(place(name.removeprefix(CNN)))
    makers = {
        "inception_v3_tf": inception_weights.make_inception,
        "inception_v3_torchvision": inception_weights.make_inception,
        "efficientnet_lite0": efficientnet_extractor.make_efficientnet,
    }
    if name not in makers:
        known = ", ".join([*makers, f"{CNN}RUN"])
        raise UserError(
            f"features={name!r} is not known: one of {known}{did_you_mean(name, makers)}"
        )
    download = str(weights) == "download"
    path = None if weights is None or download else place(weights)
    return makers[name](name, path, resize, download=download)


def checked(apply: Callable[[Any, jax.Array], Features]) -> Callable[[Any, jax.Array], Features]:
    """Return `apply` with its images checked, in float32 where an accelerator does less."""

    @functools.wraps(apply)
    def call(variables: Any, images: jax.Array) -> Features:
        if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or images.dtype != jnp.uint8:
            raise UserError(
                f"features of {images.dtype} {list(images.shape)}: give uint8 images"
                " [B, H, W, 1 | 3 | 4]"
            )
        with jax.default_matmul_precision("highest"):
            return apply(variables, images)

    return call


def _of_run(workdir: Path) -> Extractor:
    """Return a classifier of this project, as it is evaluated; a regressor has no logits."""
    name = CNN + workdir.resolve().name
    task = read_config(workdir).task
    if task.name != "classifier":
        raise UserError(
            f"features={CNN}{workdir}: a run of task {task.name!r}, not a classifier; train one"
            " with --config=configs/classifier.py"
        )
    run = load(workdir)
    nets = {key: net.replace(opt_state=()) for key, net in run.state.nets.items()}
    state = jax.device_get(run.state.replace(nets=nets))  # without what the optimizer remembers

    def apply(state: Any, images: jax.Array) -> Features:
        pixels = preprocess(images, run.spec.preprocess)
        found = run.task.encode(state, pixels.astype(jnp.float32) * (2 / 255) - 1, None)
        features = {"features": found["features"]}
        return {**features, "logits": found["outputs"]} if task.target == "label" else features

    example = jax.ShapeDtypeStruct((1, *run.spec.image_shape), jnp.uint8)
    dimensions = jax.eval_shape(apply, state, example)["features"].shape[-1]
    return Extractor(name, dimensions, state, checked(apply))
