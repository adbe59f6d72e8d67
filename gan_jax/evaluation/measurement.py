"""Image metrics of one model, from one pass over real and one over generated images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Key, Task
from gan_jax.data import Domains, Split
from gan_jax.data.dataset import fingerprint, subset
from gan_jax.evaluation.image_statistics import (
    LABELS,
    MOMENTS,
    CacheKey,
    ImageStatistics,
    load_cached,
    save_cached,
)
from gan_jax.evaluation.measures import MEASURES
from gan_jax.evaluation.passes import FeatureProbe, real_pass, sample_pass, transform_pass
from gan_jax.evaluation.protocol import (
    MAX_IMAGES,
    Measured,
    Request,
    check_numbers,
    choose_extractor,
    compute,
    needs_of,
)
from gan_jax.features.extractor import Extractor
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel
from gan_jax.sampling.rejection import keep
from gan_jax.sampling.standing import with_standing

SAMPLES, TRANSFORMED = "samples", "transformed"


class Measurement:
    """Computes the image metrics of one task on its data; compiles its programs once.

    Args:
      request: the metrics, keys of `MEASURES`.
      task: the method.
      spec: spec of its data.
      parallel: the devices.
      batch_size: images per batch, over all devices.
      train_batch_size: batch size of the training, for option "standing".
      options: options of the task; missing ones have their defaults.
      held_out: returns images that the discriminator was not trained on, for option "rejection".

    Raises:
      UserError: for metrics that the task does not have, or no feature network.
    """

    def __init__(
        self,
        request: Request,
        task: Task,
        spec: DataSpec,
        parallel: Parallel,
        *,
        batch_size: int,
        train_batch_size: int,
        options: Mapping[str, Any] | None = None,
        held_out: Callable[[], Split] | None = None,
    ) -> None:
        self._held_out = held_out
        self._request, self._task, self._spec, self._parallel = request, task, spec, parallel
        self._train_batch_size = train_batch_size
        self._options = task.check_options(options or {})
        self._kind = _kind_of_images(request, task)
        self._changed = task.transform(request.transform) if self._kind == TRANSFORMED else None
        self._measures = {name: MEASURES[name] for name in request.metrics}
        measures = self._measures.values()
        self._transform_name = request.transform or task.first_transform
        for name, measure in self._measures.items():
            if measure.pair and not (self._changed and self._changed.paired):
                fix = "it needs --images=transformed"
                if self._changed:
                    able = [n for n, x in task.transforms.items() if x.paired]
                    fix = f"--name={self._transform_name} has none; of {', '.join(able)} it can be"
                raise UserError(f"--metrics={name} compares an image with its own target: {fix}")
        needs_network = any(measure.needs_network for measure in measures)
        self._stream = self._changed.target if self._changed else task.stream
        channels = spec.streams[self._stream].shape[-1]
        self._extractor = choose_extractor(request, channels) if needs_network else None
        real, fake = needs_of(measures)
        pairs = [measure.pair(request.vgg, request.heads) for measure in measures if measure.pair]
        self._has_real = bool(real)
        self._real_pass = real_pass(
            FeatureProbe(self._extractor, real), spec, self._stream, parallel, batch_size
        )
        probe = FeatureProbe(self._extractor, fake, pairs)
        if self._kind == SAMPLES:
            self._classes = spec.num_classes if task.takes_labels else 0
            for name, measure in self._measures.items():
                if LABELS in measure.real and not self._classes:
                    raise UserError(
                        f"--metrics={name}: the generated images have no classes: it needs labelled"
                        " data, and a model that is given the class"
                    )
            self._batch_size = batch_size
            self._sample = sample_pass(
                probe, task, self._classes, parallel, batch_size, self._options
            )
        else:
            self._transform = transform_pass(
                probe, self._changed, parallel, batch_size, self._options
            )
        self._real_needs = real
        self._real_statistics: dict[str, ImageStatistics] = {}

    @property
    def needs_data(self) -> bool:
        """Whether a split of the data is needed."""
        return self._has_real or self._kind == TRANSFORMED

    def select(self, split: Split | Domains | None) -> tuple[Split | None, Split | None]:
        """Return the (real images, images to transform) of a split, `num` of each.

        The same images are chosen at every evaluation. The first is None without a split; the
        second also where images are generated from latents.
        """
        if split is None:
            return None, None
        streams = self._spec.streams
        real = source = split.part(streams[self._stream].domain)
        if self._changed:
            source = split.part(streams[self._changed.source].domain)
        chosen = _chosen(real, self._request.num)
        same = chosen if source is real else _chosen(source, self._request.num)
        return chosen, same if self._changed else None

    def numbers(self, real: Split | None, source: Split | None) -> tuple[int, int]:
        """Return the number of (real, generated) images, given the result of `select`.

        Raises:
          UserError: too few images for a metric.
        """
        num, size = self._request.num, len(real) if real else 0
        fake = len(source) if source else num or size
        if not fake:
            raise UserError("--num: say how many images to generate, there are no real ones")
        why = f"the split has {size:,}" if size and not num else f"--num={num}"
        check_numbers(self._measures, size, fake, why)
        return size, fake

    def __call__(
        self,
        state: TrainState,
        key: Key,
        seed: int,
        split_name: str,
        split: Split | Domains | None,
    ) -> Measured:
        """Compute the metrics of a state.

        Args:
          state: a concrete training state.
          key: image i is generated with fold_in(key, i).
          seed: seed of the standing statistics.
          split_name: name of the split in metric names.
          split: the real images; may be None unless `needs_data`.
        """
        chosen, source = self.select(split)
        real_number, fake_number = self.numbers(chosen, source)
        real, fake, kept = ImageStatistics(), ImageStatistics(), None
        if self._has_real:
            real = self._statistics_of_real(split_name, chosen)
        if self._kind == SAMPLES:
            classes = self._classes
            common = dict(
                parallel=self._parallel,
                labels=(lambda place: place % np.int32(classes)) if classes else None,
                options=self._options,
            )
            size = self._train_batch_size
            state = with_standing(self._task, state, seed=seed, batch_size=size, **common)
            kept = keep(
                self._task,
                state,
                key=key,
                num=fake_number,
                batch_size=self._batch_size,
                held_out=self._held_out,
                **common,
            )
            fake = self._sample(state, key, fake_number, kept and kept.trials)
        else:
            fake = self._transform(state, key, source)
        measured = compute(
            self._measures,
            real,
            fake,
            extractor=self._extractor,
            split=split_name,
            numbers=(real_number, fake_number),
            suffix=self._suffix(),
            about={"data": self._spec.fingerprint},
        )
        measured.notes += [str(kept)] if kept else []
        return measured

    def _suffix(self) -> list[str]:
        """Return the settings that differ from the defaults, for metric names."""
        defaults = {name: option.default for name, option in self._task.options.items()}
        changed = [f"{k}={v}" for k, v in sorted(self._options.items()) if v != defaults[k]]
        usual = _kind_of_images(Request(()), self._task)
        kind = [self._kind] if self._kind != usual else []
        if self._changed and self._transform_name != self._task.first_transform:
            kind = [self._transform_name]
        return [*kind, *changed]

    def _statistics_of_real(self, split_name: str, split: Split) -> ImageStatistics:
        """Return the statistics of the real images, from memory, from the cache, or computed."""
        if split_name in self._real_statistics:
            return self._real_statistics[split_name]
        made = lambda: self._real_pass(split)  # noqa: E731
        chosen = [self._spec.fingerprint, self._stream, split_name, len(split)]
        statistics = load_or_compute(
            f"{self._spec.name}-{split_name}",
            fingerprint(chosen),
            len(split),
            self._extractor,
            self._real_needs,
            made,
        )
        self._real_statistics[split_name] = statistics
        return statistics


def load_or_compute(
    name: str,
    data: str,
    count: int,
    extractor: Extractor | None,
    needs: frozenset[str],
    make: Callable[[], ImageStatistics],
) -> ImageStatistics:
    """Return the cached statistics of the same images and features, or compute and cache them.

    Args:
      name: of data set and split, for the file name.
      data: fingerprint of the images.
      count: number of images.
      extractor: the feature network; without one nothing is cached.
      needs: the fields of `ImageStatistics` that must be present.
      make: computes the statistics.
    """
    if extractor is None or MOMENTS not in needs:
        return make()
    key = CacheKey(name, data, count, extractor.name, extractor.dimensions, extractor.fingerprint)
    statistics = load_cached(key, needs)
    if hosts.any_of(statistics is None):
        statistics = make()
        if hosts.first():
            save_cached(key, statistics)
    return statistics


def _chosen(split: Split, num: int) -> Split:
    """Return a fixed random choice of `num` examples of a split; 0 for up to `MAX_IMAGES`."""
    number = min(len(split), num or MAX_IMAGES)
    if number == len(split):
        return split
    order = np.random.Generator(np.random.Philox(0)).permutation(len(split))
    return subset(split, np.sort(order[:number]))


def _kind_of_images(request: Request, task: Task) -> str:
    can = {SAMPLES: task.generate, TRANSFORMED: task.transforms}
    able = [name for name, member in can.items() if member]
    wanted = request.images or (TRANSFORMED if request.transform else "")
    if wanted:
        check_choice("--images", wanted, able)
    if wanted == SAMPLES and request.transform:
        raise UserError(f"--name={request.transform} with --images=samples: leave one of them out")
    return wanted or able[0]
