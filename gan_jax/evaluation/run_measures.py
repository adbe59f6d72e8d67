"""Metrics that need a run itself rather than a set of its images."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gan_jax.core.errors import UserError
from gan_jax.core.places import CNN, DATA, is_place, place
from gan_jax.evaluation.classes import gan_test, gan_train
from gan_jax.evaluation.paths import perceptual_path_length
from gan_jax.evaluation.protocol import Request
from gan_jax.evaluation.restoration import restoration
from gan_jax.evaluation.robustness import robustness
from gan_jax.features.lpips import make_efficientnet_distance, make_lpips
from gan_jax.library.run import Run, load
from gan_jax.rundir.workdir import read_config


def _accuracy_scores(
    run: Run, request: Request, *, seed: int, split: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Compute GAN-train (--features' config, retrained on generated images) and GAN-test."""
    if not request.features.startswith(CNN):
        raise UserError(
            "--metrics=cas needs --features=cnn:RUN: the classifier whose config is trained on"
            " generated images, and which is tested on them"
        )
    workdir = place(request.features.removeprefix(CNN))
    name, config = CNN + workdir.resolve().name, read_config(workdir)
    for field in filter(functools.partial(is_place, config), DATA):
        there = place(config.data[field.removeprefix("data.")])
        if not there.exists():
            raise UserError(
                f"--metrics=cas trains on the data of {workdir}, and they are not at {there}: say"
                f" where by python main.py --mode=eval --workdir={workdir} --config.{field}=PLACE"
            )
    given = dict(num=request.num, seed=seed, **options)
    found = gan_train(run, config, name=name, split=split, **given)
    return {**found, **gan_test(run, load(workdir), **{**given, "num": request.num or 10_000})}


def _path_length(
    run: Run, request: Request, *, seed: int, split: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Measure with LPIPS if VGG-16's weights are given, else with EfficientNet's activations."""
    vgg, heads = request.vgg, request.heads
    distance = make_lpips(vgg=vgg, heads=heads) if vgg else make_efficientnet_distance()
    return perceptual_path_length(
        run,
        lambda a, b: distance.apply(distance.variables, a, b),
        distance_name=distance.name,
        num=request.num or 10_000,
        seed=seed,
        **options,
    )


def _robustness(
    run: Run, request: Request, *, seed: int, split: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Measure the discriminator's accuracy on clean and corrupted images."""
    return robustness(run, num=request.num, seed=seed, split=split, **options)


def _restoration(
    run: Run, request: Request, *, seed: int, split: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Compare restored photographs with the clean ones."""
    given = dict(name=request.transform, num=request.num, options=options)
    return restoration(run, seed=seed, split=split, **given)


def measure_run(
    name: str, run: Run, request: Request, *, seed: int, split: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Return the values of a metric of `protocol.RUN_MEASURES`, by name with protocol."""
    computes = {
        "cas": _accuracy_scores,
        "ppl": _path_length,
        "robustness": _robustness,
        "restoration": _restoration,
    }
    return computes[name](run, request, seed=seed, split=split, options=options)
