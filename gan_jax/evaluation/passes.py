"""Evaluation passes: one over the real images, one over the generated or transformed ones.

A pass is one compiled program for all requested metrics, mapped over a batch on all devices: it
generates the images, rounds them to the 256 grey levels in which the real ones are stored, applies
the feature network, and returns the per-image arrays that the metrics need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Key, Task, Transform
from gan_jax.data import Split
from gan_jax.data.pipeline import eval_batches, prefetch
from gan_jax.evaluation.image_statistics import (
    FEATURES,
    IMAGES,
    LABELS,
    LOGITS,
    MOMENTS,
    ImageStatistics,
    collect,
)
from gan_jax.features.extractor import Extractor
from gan_jax.features.lpips import Distance
from gan_jax.parallel.mesh import Parallel
from gan_jax.sampling.rejection import trial_keys

Rows = dict[str, jax.Array]


def to_pixels(images: jax.Array) -> jax.Array:
    """Map float [-1, 1] (clipped) to the nearest uint8, on the device; see `images.to_uint8`."""
    scaled = (images.astype(jnp.float32) + 1) * 127.5
    return jnp.clip(jnp.rint(scaled), 0, 255).astype(jnp.uint8)


class FeatureProbe:
    """Computes the features of a batch of images, real and generated alike.

    Args:
      extractor: the feature network; None if no metric needs one.
      needs: the fields of `ImageStatistics` that the metrics need of these images.
      pairs: distances between an image and its target.
    """

    def __init__(
        self,
        extractor: Extractor | None,
        needs: frozenset[str],
        pairs: Sequence[Distance] = (),
    ) -> None:
        self.needs, self.pairs, self._extractor = needs, pairs, extractor
        self.variables = {pair.name: pair.variables for pair in pairs}
        if extractor is not None:
            self.variables[FEATURES] = extractor.variables

    def __call__(self, variables: Any, images: jax.Array, target: jax.Array | None = None) -> Rows:
        """Return per-image arrays by name.

        Args:
          variables: `self.variables`, as a traced argument.
          images: [B, H, W, C] in [-1, 1].
          target: targets of the images, likewise, for `pairs`.
        """
        pixels, rows = to_pixels(images), {}
        if self.needs & {MOMENTS, FEATURES, LOGITS}:
            found = self._extractor.apply(variables[FEATURES], pixels)
            if self.needs & {MOMENTS, FEATURES}:
                rows[FEATURES] = found["features"]
            if LOGITS in self.needs:
                if "logits" not in found:
                    raise UserError(
                        f"--metrics=is needs classes, and {self._extractor.name} has none: give a"
                        " network that classifies as --features"
                    )
                rows[LOGITS] = found["logits"]
        if IMAGES in self.needs:
            rows[IMAGES] = pixels
        if self.pairs:
            prediction = pixels.astype(jnp.float32) * np.float32(2 / 255) - 1
            for pair in self.pairs:
                rows[pair.name] = pair.apply(variables[pair.name], prediction, target)
        return rows


def real_pass(
    probe: FeatureProbe, spec: DataSpec, stream: str, parallel: Parallel, batch_size: int
) -> Callable[[Split], ImageStatistics]:
    """Return a function that collects the statistics of a split in one pass.

    Args:
      probe: computes the per-image arrays.
      spec: spec of the data.
      stream: stream of the split that holds the real images.
      parallel: the devices.
      batch_size: images per batch, over all devices.
    """
    labelled = LABELS in probe.needs and "label" in spec.streams

    def rows(variables: Any, batch: Mapping[str, jax.Array]) -> Rows:
        found = {**probe(variables, batch[stream]), "mask": batch["mask"]}
        return {**found, LABELS: batch["label"]} if labelled else found

    step, variables = parallel.compile_map(rows), parallel.place_whole(probe.variables)

    def run(split: Split) -> ImageStatistics:
        return collect(_each(step, (variables,), split, parallel, batch_size), probe.needs)

    return run


def sample_pass(
    probe: FeatureProbe,
    task: Task,
    classes: int,
    parallel: Parallel,
    batch_size: int,
    options: Mapping[str, Any],
) -> Callable[..., ImageStatistics]:
    """Return a function (state, key, number, trials=None) -> statistics of generated images.

    Image i depends on fold_in(key, i) and its label only. Classes are balanced for a conditional
    model: image i has class i modulo `classes`. `trials` [number] is the index of the accepted
    trial of each image under rejection sampling, or None.

    Args:
      probe: computes the per-image arrays.
      task: a task that generates.
      classes: number of classes of a conditional model; 0 lets the task draw labels, if it has any.
      parallel: the devices.
      batch_size: images per batch, over all devices.
      options: every option of the task.
    """

    def rows(state: TrainState, variables: Any, key: Key, place: jax.Array, trial: Any) -> Rows:
        labels = place % classes if classes else None
        keys = fold_in_each(key, place) if trial is None else trial_keys(key, place, trial)
        latents = task.latents(keys, labels, **options)
        found = probe(variables, task.generate(state, latents, **options))
        return {**found, LABELS: labels} if classes and LABELS in probe.needs else found

    step, variables = parallel.compile_map(rows), parallel.place_whole(probe.variables)
    local = batch_size // jax.process_count()

    def made(
        state: TrainState, key: Key, number: int, trials: np.ndarray | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, number, batch_size):
            mine = start + jax.process_index() * local
            place = np.arange(mine, mine + local, dtype=np.int32)
            trial = None if trials is None else trials[np.minimum(place, number - 1)]
            placed = parallel.place((place, trial))
            found = jax.device_get(step(state, variables, key, *placed))
            whole = np.arange(start, start + batch_size)
            yield {**found, "mask": (whole < number).astype(np.float32)}

    return lambda *given: collect(made(*given), probe.needs)


def transform_pass(
    probe: FeatureProbe,
    transform: Transform,
    parallel: Parallel,
    batch_size: int,
    options: Mapping[str, Any],
) -> Callable[[TrainState, Key, Split], ImageStatistics]:
    """Return a function (state, key, split) -> statistics of the transformed images of a split.

    Args:
      probe: computes the per-image arrays.
      transform: a transform of the task.
      parallel: the devices.
      batch_size: images per batch, over all devices.
      options: every option of the task.
    """

    def rows(state: TrainState, variables: Any, key: Key, batch: Mapping[str, jax.Array]) -> Rows:
        labels = (batch["label"],) if transform.takes_labels else ()
        keys = fold_in_each(key, batch["index"])
        made = transform.function(state, transform.inputs(batch, keys), keys, *labels, **options)
        target = batch[transform.target] if transform.paired else None
        found = {**probe(variables, made, target), "mask": batch["mask"]}
        labelled = LABELS in probe.needs and "label" in batch
        return {**found, LABELS: batch["label"]} if labelled else found

    step, variables = parallel.compile_map(rows), parallel.place_whole(probe.variables)

    def run(state: TrainState, key: Key, split: Split) -> ImageStatistics:
        first = (state, variables, key)
        return collect(_each(step, first, split, parallel, batch_size), probe.needs)

    return run


def _each(
    step: Callable[..., Rows], first: tuple, split: Split, parallel: Parallel, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the result of `step(*first, batch)` for each batch of a split, on the host."""
    shard = (jax.process_index(), jax.process_count())
    for batch in prefetch(eval_batches(split, batch_size, shard), parallel.place):
        yield jax.device_get(step(*first, batch))
