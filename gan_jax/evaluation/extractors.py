"""Feature networks by name: published ones, and classifiers trained with this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.core.places import CNN, place
from gan_jax.features import efficientnet_extractor, inception_weights
from gan_jax.features.extractor import Extractor, Features, checked
from gan_jax.features.resize import preprocess
from gan_jax.library.run import load
from gan_jax.rundir.workdir import read_config


def make_extractor(
    name: str, *, weights: str | Path | None = None, resize: str = "clean"
) -> Extractor:
    """Return a feature network with its weights.

    Args:
      name: "inception_v3_tf", "inception_v3_torchvision", "efficientnet_lite0", or "cnn:RUN", where
        RUN is the run directory of a classifier.
      weights: weights file; None for the published weights at their usual place; "download" to
        fetch these if they are missing.
      resize: "clean" or "tf_legacy", see `gan_jax.features.resize`.

    Raises:
      UserError: for an unknown name, missing weights or weights of another network, a run that is
        not a classifier, or `weights` or `resize` given for a run, which has its own.
    """
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


def _of_run(workdir: Path) -> Extractor:
    """Return the extractor of a trained classifier; that of a regressor has no logits."""
    name = CNN + workdir.resolve().name
    task = read_config(workdir).task
    if task.name != "classifier":
        raise UserError(
            f"features={CNN}{workdir}: a run of task {task.name!r}, not a classifier; train one"
            " with --config=configs/classifier.py"
        )
    run = load(workdir)
    nets = {key: net.replace(opt_state=()) for key, net in run.state.nets.items()}
    state = jax.device_get(run.state.replace(nets=nets))  # no optimizer state

    def apply(state: Any, images: jax.Array) -> Features:
        pixels = preprocess(images, run.spec.preprocess)
        found = run.task.encode(state, pixels.astype(jnp.float32) * (2 / 255) - 1, None)
        features = {"features": found["features"]}
        return {**features, "logits": found["outputs"]} if task.target == "label" else features

    example = jax.ShapeDtypeStruct((1, *run.spec.image_shape), jnp.uint8)
    dimensions = jax.eval_shape(apply, state, example)["features"].shape[-1]
    return Extractor(name, dimensions, state, checked(apply))
