"""A measurement: any metrics of one model in one pass over real and one over generated images."""

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
from gan_jax.evaluation.measures import MEASURES
from gan_jax.evaluation.passes import Look, real_pass, sample_pass, transform_pass
from gan_jax.evaluation.protocol import (
    MOST,
    Measured,
    Request,
    check_numbers,
    choose_extractor,
    compute,
    needs_of,
)
from gan_jax.evaluation.side import LABELS, MOMENTS, Origin, Side, keep_side, kept_side
from gan_jax.features.extractor import Extractor
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel
from gan_jax.sampling.rejection import keep
from gan_jax.sampling.standing import with_standing

SAMPLES, TRANSFORMED = "samples", "transformed"


class Measurement:
    """Metrics that look at images, of one task on its data; programs are compiled once.

    Args:
      request: its metrics are keys of `MEASURES`.
      task: the method.
      spec: of its data.
      parallel: the devices.
      batch_size: images a batch, over all devices.
      train_batch_size: of the training, for option "standing".
      options: of the task, those not given at their defaults.
      held_out: -> images that a discriminator was not trained on, for option "rejection".

    Raises:
      UserError: for metrics that the task lacks, or no feature network.
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
        self._transform_name = request.transform or next(iter(task.transforms), "")
        for name, measure in self._measures.items():
            if measure.pair and not (self._changed and self._changed.paired):
                fix = "it needs --images=transformed"
                if self._changed:
                    able = [n for n, x in task.transforms.items() if x.paired]
                    fix = f"--name={self._transform_name} has none; of {', '.join(able)} it can be"
                raise UserError(f"--metrics={name} compares an image with its own target: {fix}")
        sees = any(measure.sees for measure in measures)
        self._stream = self._changed.target if self._changed else task.stream
        channels = spec.streams[self._stream].shape[-1]
        self._extractor = choose_extractor(request, channels) if sees else None
        real, fake = needs_of(measures)
        pairs = [measure.pair(request.vgg, request.heads) for measure in measures if measure.pair]
        self._has_real = bool(real)
        self._look_at_real = real_pass(
            Look(self._extractor, real), spec, self._stream, parallel, batch_size
        )
        look = Look(self._extractor, fake, pairs)
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
                look, task, self._classes, parallel, batch_size, self._options
            )
        else:
            self._transform = transform_pass(
                look, self._changed, parallel, batch_size, self._options
            )
        self._real_needs = real
        self._real_sides: dict[str, Side] = {}

    @property
    def needs_data(self) -> bool:
        """Whether real images are looked at."""
        return self._has_real or self._kind == TRANSFORMED

    def sides(self, split: Split | Domains | None) -> tuple[Split | None, Split | None]:
        """Return the (real, transformed) images of a split, of which `num` are chosen.

        The same ones at every evaluation; None without a split, and for samples.

        Raises:
          UserError: too few for a metric.
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
        """Return how many (real, generated) images what `sides` returned means.

        Raises:
          UserError: too few for a metric.
        """
        num, size = self._request.num, len(real) if real else 0
        real = size
        fake = len(source) if source else num or real
        if not fake:
            raise UserError("--num: say how many images to generate, there are no real ones")
        why = f"the split has {size:,}" if size and not num else f"--num={num}"
        check_numbers(self._measures, real, fake, why)
        return real, fake

    def __call__(
        self,
        state: TrainState,
        key: Key,
        seed: int,
        split_name: str,
        split: Split | Domains | None,
    ) -> Measured:
        """Measure a state.

        Args:
          state: concrete.
          key: image i is made with fold_in(key, i).
          seed: of standing statistics.
          split_name: for the names.
          split: the real images; None only where `needs_data` is not.
        """
        chosen, source = self.sides(split)
        real_number, fake_number = self.numbers(chosen, source)
        real, fake, kept = Side(), Side(), None
        if self._has_real:
            real = self._real_side(split_name, chosen)
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
        """Return what departs from the defaults, for the names."""
        defaults = {name: option.default for name, option in self._task.options.items()}
        changed = [f"{k}={v}" for k, v in sorted(self._options.items()) if v != defaults[k]]
        usual = _kind_of_images(Request(()), self._task)
        kind = [self._kind] if self._kind != usual else []
        if self._changed and self._transform_name != next(iter(self._task.transforms)):
            kind = [self._transform_name]
        return [*kind, *changed]

    def _real_side(self, split_name: str, split: Split) -> Side:
        """Return what is known of the real images: remembered, kept in a file, or looked at."""
        if split_name in self._real_sides:
            return self._real_sides[split_name]
        made = lambda: self._look_at_real(split)  # noqa: E731
        chosen = [self._spec.fingerprint, self._stream, split_name, len(split)]
        side = remembered(
            f"{self._spec.name}-{split_name}",
            fingerprint(chosen),
            len(split),
            self._extractor,
            self._real_needs,
            made,
        )
        self._real_sides[split_name] = side
        return side


def remembered(
    name: str,
    data: str,
    count: int,
    extractor: Extractor | None,
    needs: frozenset[str],
    make: Callable[[], Side],
) -> Side:
    """Return the real side that was kept for the same images and features, or make and keep it."""
    if extractor is None or MOMENTS not in needs:
        return make()
    origin = Origin(name, data, count, extractor.name, extractor.dimensions, extractor.fingerprint)
    side = kept_side(origin, needs)
    if hosts.any_of(side is None):
        side = make()
        if hosts.first():
            keep_side(origin, side)
    return side


def _chosen(split: Split, num: int) -> Split:
    """Return so many examples of a split, chosen at random; 0 is up to `MOST`."""
    number = min(len(split), num or MOST)
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
