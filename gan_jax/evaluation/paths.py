"""Perceptual path length of a run: how smoothly its images vary with the latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.keys import image_keys
from gan_jax.core.metric_names import MetricName
from gan_jax.core.state import TrainState
from gan_jax.library.run import Run
from gan_jax.metrics.path_length import EPSILON, path_lengths, trimmed_mean
from gan_jax.sampling.rejection import NONE
from gan_jax.sampling.standing import with_standing

MIN_PATHS = 100  # the trimmed mean cuts 1 % at either end


def perceptual_path_length(
    run: Run,
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    distance_name: str,
    num: int = 10_000,
    seed: int = 0,
    epsilon: float = EPSILON,
    batch_size: int = 64,
    **options: Any,
) -> dict[str, float]:
    """Measure the mean perceptual length of paths between latents; see `metrics.path_length`.

    Args:
      run: a run of a task that generates; a conditional one draws a class for each path.
      distance: (images, images), [B, H, W, C] in [-1, 1], -> squared distances [B]; pure, since it
        is compiled together with the generator.
      distance_name: the distance's part of the metric name.
      num: number of paths; the paper uses 100,000.
      seed: path i depends on (seed, i) only.
      epsilon: step size in t.
      batch_size: paths per batch.
      **options: options of the task, such as weights="raw".

    Returns:
      {"ppl/DISTANCE/NUM": value}.

    Raises:
      UserError: for a task that does not generate, an unknown option, or too few paths.
    """
    generate, latents = run.task.require("generate"), run.task.require("latents")
    options = run.task.check_options(options)
    if options.get("rejection", NONE) != NONE:
        raise UserError(
            f"ppl with --rejection={options['rejection']}: it measures paths between latents, none"
            " of which is rejected: leave the option out"
        )
    if num < MIN_PATHS:
        raise UserError(
            f"ppl: {num} paths, at least {MIN_PATHS} needed: a percent at either end is cut"
        )

    def measure(state: TrainState, keys: jax.Array) -> jax.Array:
        start_keys, end_keys, place_keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys).T
        return path_lengths(
            lambda z: generate(state, z, **options),
            distance,
            start=latents(start_keys, None, **options),
            end=latents(end_keys, None, **options),
            place=jax.vmap(jax.random.uniform)(place_keys),
            epsilon=epsilon,
        )

    compiled = run.parallel.compile_map(measure)
    state = with_standing(
        run.task,
        run.state,
        parallel=run.parallel,
        seed=seed,
        batch_size=run.config.train.batch_size,
        labels=None,
        options=options,
    )
    size = run.parallel.round_up(min(batch_size, num))
    lengths = []
    for first in range(0, num, size):
        index = np.minimum(np.arange(first, first + size), num - 1)
        keys = jax.device_put(image_keys(seed, index), run.parallel.split())
        lengths.append(np.asarray(compiled(state, keys))[: num - first])
    name = MetricName("ppl", protocol=(distance_name, num))
    return {str(name): trimmed_mean(np.concatenate(lengths))}
