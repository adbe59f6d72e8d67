"""Passes over the images of an evaluation: one over the real ones, one over those that a run makes.

A pass maps over a batch on all devices: make the images, round them to the 256 grey levels that the
real ones are stored in, look at them with a feature network, and hand the rows that the metrics
need to the host. It is one compiled program, whatever metrics are asked for.
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
from gan_jax.evaluation.side import FEATURES, IMAGES, LABELS, LOGITS, MOMENTS, Side, collect
from gan_jax.features.extractor import Extractor
from gan_jax.features.lpips import Distance
from gan_jax.parallel.mesh import Parallel
from gan_jax.sampling.rejection import trial_keys

Rows = dict[str, jax.Array]


def to_pixels(images: jax.Array) -> jax.Array:
    """Map float [-1, 1] (clipped) to the nearest uint8, on the device; see `images.to_uint8`."""
    scaled = (images.astype(jnp.float32) + 1) * 127.5
    return jnp.clip(jnp.rint(scaled), 0, 255).astype(jnp.uint8)


class Look:
    """What is seen of a batch of images, for both sides the same.

    Args:
      extractor: the feature network; None where no metric needs one.
      needs: of `gan_jax.evaluation.side`: what the metrics want of this side.
      pairs: distances of an image and its target.
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
        """Return the rows of images [B, H, W, C] in [-1, 1]; `target` likewise, for the pairs."""
        pixels, rows = to_pixels(images), {}
        if self.needs & {MOMENTS, FEATURES, LOGITS}:
            seen = self._extractor.apply(variables[FEATURES], pixels)
            if self.needs & {MOMENTS, FEATURES}:
                rows[FEATURES] = seen["features"]
            if LOGITS in self.needs:
                if "logits" not in seen:
                    raise UserError(
                        f"--metrics=is needs classes, and {self._extractor.name} has none: give a"
                        " network that classifies as --features"
                    )
                rows[LOGITS] = seen["logits"]
        if IMAGES in self.needs:
            rows[IMAGES] = pixels
        if self.pairs:
            prediction = pixels.astype(jnp.float32) * np.float32(2 / 255) - 1
            for pair in self.pairs:
                rows[pair.name] = pair.apply(variables[pair.name], prediction, target)
        return rows


def real_pass(
    look: Look, spec: DataSpec, stream: str, parallel: Parallel, batch_size: int
) -> Callable[[Split], Side]:
    """Return a function that looks at a split once.

    Args:
      look: what is seen.
      spec: of the data.
      stream: the images of a batch that count as real.
      parallel: the devices.
      batch_size: images a batch, over all devices.
    """
    labelled = LABELS in look.needs and "label" in spec.streams

    def rows(variables: Any, batch: Mapping[str, jax.Array]) -> Rows:
        found = {**look(variables, batch[stream]), "mask": batch["mask"]}
        return {**found, LABELS: batch["label"]} if labelled else found

    step, variables = parallel.compile_map(rows), parallel.place_whole(look.variables)

    def run(split: Split) -> Side:
        return collect(_each(step, (variables,), split, parallel, batch_size), look.needs)

    return run


def sample_pass(
    look: Look,
    task: Task,
    classes: int,
    parallel: Parallel,
    batch_size: int,
    options: Mapping[str, Any],
) -> Callable[..., Side]:
    """Return a function (state, key, number, trials=None) that generates images and looks at them.

    Image i depends on fold_in(key, i) and its label only. A conditional model makes as many images
    of each class: image i has class i modulo their number. `trials` is None, or which trial of each
    image rejection sampling has kept.

    Args:
      look: what is seen.
      task: generates.
      classes: that can be asked for; 0 leaves labels to the task.
      parallel: the devices.
      batch_size: images a batch, over all devices.
      options: every option of the task.
    """

    def rows(state: TrainState, variables: Any, key: Key, place: jax.Array, trial: Any) -> Rows:
        labels = place % classes if classes else None
        keys = fold_in_each(key, place) if trial is None else trial_keys(key, place, trial)
        latents = task.latents(keys, labels, **options)
        found = look(variables, task.generate(state, latents, **options))
        return {**found, LABELS: labels} if classes and LABELS in look.needs else found

    step, variables = parallel.compile_map(rows), parallel.place_whole(look.variables)
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

    return lambda *given: collect(made(*given), look.needs)


def transform_pass(
    look: Look,
    transform: Transform,
    parallel: Parallel,
    batch_size: int,
    options: Mapping[str, Any],
) -> Callable[[TrainState, Key, Split], Side]:
    """Return a function (state, key, split) that transforms a split's images and looks at them.

    Args:
      look: what is seen.
      transform: of the task.
      parallel: the devices.
      batch_size: images a batch, over all devices.
      options: every option of the task.
    """

    def rows(state: TrainState, variables: Any, key: Key, batch: Mapping[str, jax.Array]) -> Rows:
        labels = (batch["label"],) if transform.takes_labels else ()
        keys = fold_in_each(key, batch["index"])
        made = transform.function(state, batch[transform.source], keys, *labels, **options)
        target = batch[transform.target] if transform.paired else None
        found = {**look(variables, made, target), "mask": batch["mask"]}
        labelled = LABELS in look.needs and "label" in batch
        return {**found, LABELS: batch["label"]} if labelled else found

    step, variables = parallel.compile_map(rows), parallel.place_whole(look.variables)

    def run(state: TrainState, key: Key, split: Split) -> Side:
        first = (state, variables, key)
        return collect(_each(step, first, split, parallel, batch_size), look.needs)

    return run


def _each(
    step: Callable[..., Rows], first: tuple, split: Split, parallel: Parallel, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield what `step(*first, batch)` returns for each batch of a split, on the host."""
    shard = (jax.process_index(), jax.process_count())
    for batch in prefetch(eval_batches(split, batch_size, shard), parallel.place):
        yield jax.device_get(step(*first, batch))
