"""Task: a method as a record of pure functions.

The loop, sampling, evaluation and the notebooks see only this record; none of them knows what a GAN
or a VAE is. A task is built once, by `make_task(config, spec)`, and closes over networks,
optimizers and options; everything that changes during training is in the TrainState.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.options import WEIGHTS, Option, check_options
from gan_jax.core.state import TrainState

Key = jax.Array
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Phase:
    """The static properties of a step; each new phase is compiled once.

    Attributes:
      name: the stage, for the log.
      draws: independent batches per step (critic updates per generator update).
      due: lazy regularisers due at this step.
      stage: resolution stage of growing networks, 0 the smallest; None for all others.
    """

    name: str = "train"
    draws: int = 1
    due: tuple[str, ...] = ()
    stage: int | None = None


PATHS = ("both", "latents", "classes")  # what an interpolation between two images varies


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation that costs more than the default one and is requested by name.

    It has `eval_step` and `eval_metrics` like a Task, so that `make_evaluator` accepts either.

    Attributes:
      help: one line, with the unit.
      eval_step: (state, batch, key, **options) -> sums over examples where mask is 1, arrays of any
        shape, with "count".
      eval_metrics: (those sums over a whole split in float64, **options) -> dict of Python floats,
        and a matrix "confusion"; names carry the protocol, such as "nll/iw200".
      options: its options by name; `Task.evaluation` binds them.
    """

    help: str
    eval_step: Callable[..., Metrics]
    eval_metrics: Callable[..., dict[str, Any]]
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit to the training images after training, such as the moments of a VAE's latents.

    Attributes:
      help: one line.
      rows: (state, batch, key) -> {name: [B, ...]}, one row per example; batch and key as in
        `Task.eval_step`.
      finish: {name: NumPy array [N, ...] of all examples} -> {name: NumPy array}. The result is
        stored in the run and is in `state.buffers` when the run is loaded, see `state.fitted`.
    """

    help: str
    rows: Callable[[TrainState, Batch, Key], Mapping[str, jax.Array]]
    finish: Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Transform:
    """An image-to-image function of a method, and what its results are compared with.

    Attributes:
      help: one line.
      function: (state, images, keys, labels or None, **options) -> images; one key per image.
      source: the stream of its input images.
      target: the stream that its results belong to.
      paired: whether every input has a partner in `target` to compare its result with (PSNR);
        otherwise results and stream are compared as two sets (FID).
      scale: height and width of a result relative to its input.
      multiple: height and width of an input must be multiples of it, and may be any of these; None:
        only the training size.
      context: radius of the receptive field of an output pixel [px of the input]; None: the whole
        image, as with norms and attention over it. Large images go in tiles that overlap by it.
      takes_labels: whether it takes the class that a result is to have.
      takes_mask: whether its images have one channel more than those of `target`, the mask, last: 1
        where pixels are to be filled in, whose colours are 0, and -1 elsewhere.
      degrade: (images of stream `target`, keys) -> input images, for data that have clean images
        only; None: the inputs are the images of stream `source`.
      channels: channels of its input images, where they are not those of stream `source`; 0: they
        are.
      protocol: what `degrade` does, as part of metric names, such as "x2".
    """

    help: str
    function: Callable[..., jax.Array]
    source: str = "image"
    target: str = "image"
    paired: bool = True
    scale: float = 1.0
    multiple: int | None = None
    context: int | None = None
    takes_labels: bool = False
    takes_mask: bool = False
    degrade: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    channels: int = 0
    protocol: str = ""

    def inputs(self, batch: Batch, keys: jax.Array) -> jax.Array:
        """Return its input images from a batch of the data; one key per image."""
        return self.degrade(batch[self.target], keys) if self.degrade else batch[self.source]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What a method says of an image: the probabilities of its classes, or values.

    Attributes:
      function: (state, images) -> [B, K].
      names: of the K numbers: classes, or values in the target's unit.
      probabilities: whether the numbers are probabilities of classes.
    """

    function: Callable[[TrainState, jax.Array], jax.Array]
    names: tuple[str, ...]
    probabilities: bool


@dataclasses.dataclass(frozen=True)
class Task:
    """A method. Members that a method lacks are None; `require` turns that into an error.

    Batch leaves are `[draws, B, ...]` in `train_step` and `[B, ...]` elsewhere. `eval_step` gets
    two more leaves: "mask" [B] float32, 0 for the padding of the last batch, and "index" [B]
    int32, the example's index in its split. Images are `[B, H, W, C]` float32 in [-1, 1]. `keys`
    holds one typed PRNG key per image, so that an image does not depend on its batch.

    Attributes:
      name: the family, such as "gan".
      modules: networks by name, for the model table.
      example_inputs: the abstract inputs of each network's `__call__`, with a batch size of 1.
      phase: step (Python int) -> Phase.
      init: key -> TrainState, pure: the caller compiles it.
      train_step: (phase, state, batch, key) -> (state, scalar metrics). `key` is already folded
        with the step; the loop advances `step` and `position`.
      eval_step: (state, batch, key) -> dict of sums over examples where mask is 1, with "count".
        `key` is the same for every batch.
      eval_metrics: those sums over a whole split -> dict of Python floats.
      latents: (keys, labels or None, **options) -> pytree, one entry per image.
      interpolate: (start, end, place, along) -> latents between start and end; place [B] in [0, 1]
        is the fraction of the way, along one of PATHS.
      generate: (state, latents, **options) -> images.
      statistics: (state, latents, **options) -> dict network -> its BatchNorm statistics of that
        one batch in training mode; option "standing" averages them.
      judge: (state, images, labels or None) -> discriminator logits [B], larger for real, in
        evaluation mode: stored statistics, no augmentation.
      check_odds: how ("raw" or "calibrated") -> None; raises UserError if the logits of `judge`
        are not log odds of real to generated and cannot be calibrated to be; see
        `gan_jax.sampling.rejection`.
      encode: (state, images, keys) -> latents.
      predict: what a classifier or regressor says of images.
      transforms: image-to-image functions by name: reconstruct, translate, restore; the first is
        the default.
      fits: fits that `--mode=fit` makes to the training images, by name.
      grids: (state, batch, key) -> dict name -> [rows, columns, H, W, C], the pictures that the
        loop writes; batch is the first images of the evaluation split. "samples" are draws of
        `generate`: the loop measures how much they vary.
      stream: the stream of images that `generate` models and `judge` classifies.
      takes_labels: whether `latents` and `judge` take classes.
      options: options of generate and of the transforms by name.
      group: the number of images in a microbatch on a device must be at most this, or a multiple
        of it.
      notes: remarks for whoever trains it, one line each; printed before the first step and by
        --mode=inspect.
      evaluations: further evaluations of a split, by the name that requests them;
        `evaluation(name, **options)` returns one ready for use.
    """

    name: str
    modules: Mapping[str, nn.Module]
    example_inputs: Mapping[str, tuple[jax.ShapeDtypeStruct, ...]]
    phase: Callable[[int], Phase]
    init: Callable[[Key], TrainState]
    train_step: Callable[[Phase, TrainState, Batch, Key], tuple[TrainState, Metrics]]
    eval_step: Callable[[TrainState, Batch, Key], Metrics]
    eval_metrics: Callable[[Mapping[str, Any]], dict[str, float]]
    latents: Callable[..., Any] | None = None
    interpolate: Callable[..., Any] | None = None
    generate: Callable[..., jax.Array] | None = None
    statistics: Callable[..., Any] | None = None
    judge: Callable[..., jax.Array] | None = None
    check_odds: Callable[[str], None] | None = None
    encode: Callable[..., Any] | None = None
    predict: Predictor | None = None
    transforms: Mapping[str, Transform] = dataclasses.field(default_factory=dict)
    fits: Mapping[str, Fit] = dataclasses.field(default_factory=dict)
    grids: Callable[[TrainState, Batch, Key], dict[str, jax.Array]] | None = None
    stream: str = "image"
    takes_labels: bool = False
    options: Mapping[str, Option] = dataclasses.field(default_factory=lambda: {"weights": WEIGHTS})
    group: int = 1
    notes: tuple[str, ...] = ()
    evaluations: Mapping[str, Evaluation] = dataclasses.field(default_factory=dict)

    def require(self, member: str) -> Any:
        """Return a member, or raise UserError naming what this task can do."""
        found = getattr(self, member)
        if found is None:
            raise UserError(f"task {self.name!r} cannot {member}: it can {self._can()}")
        return found

    @property
    def first_transform(self) -> str:
        """The transform that is used if none is named; "" for a task without any."""
        return next(iter(self.transforms), "")

    def transform(self, name: str = "") -> Transform:
        """Return a transform by its name, "" for the first.

        Raises:
          UserError: there is none of that name, or none at all.
        """
        if not self.transforms:
            raise UserError(f"task {self.name!r} cannot transform: it can {self._can()}")
        if name:
            check_choice(f"transform of task {self.name!r}", name, self.transforms)
        return self.transforms[name or self.first_transform]

    def _can(self) -> str:
        members = ("generate", "encode", "predict")
        able = [member for member in members if getattr(self, member) is not None]
        able += ["transform"] if self.transforms else []
        return " and ".join(able) or "evaluate only"

    def check_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options of the task, defaults filled in; raise UserError on bad ones."""
        return check_options(f"task {self.name!r}", self.options, given)

    def evaluation(self, name: str, **given: Any) -> Evaluation:
        """Return an evaluation with its options bound, defaults filled in.

        Args:
          name: a key of `evaluations`.
          **given: options of that evaluation, typed or as text.

        Raises:
          UserError: an unknown name or option.
        """
        check_choice(f"evaluation of task {self.name!r}", name, self.evaluations)
        chosen = self.evaluations[name]
        options = check_options(f"evaluation {name!r}", chosen.options, given)
        return dataclasses.replace(
            chosen,
            eval_step=functools.partial(chosen.eval_step, **options),
            eval_metrics=functools.partial(chosen.eval_metrics, **options),
            options={},
        )
