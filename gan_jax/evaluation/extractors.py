"""The feature networks by name: published ones, and classifiers that this project trained."""

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
from gan_jax.runs.workdir import read_config


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
