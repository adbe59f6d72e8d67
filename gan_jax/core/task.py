"""Task: the record of pure functions that a method is.

The loop, sampling, evaluation and the notebooks see only this record; none of them knows what a GAN
or a VAE is. A task is built once, by `make_task(config, spec)`, and closes over networks,
optimizers and options; all that changes during training is in the TrainState.
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
    """What is static about a step: a change of phase is a new compilation.

    Attributes:
      name: the stage, for the log.
      draws: how many independent batches one step takes (critic updates a generator update).
      due: what is not done at every step and is at this one.
      stage: of networks that grow, 0 the smallest; None for all others.
    """

    name: str = "train"
    draws: int = 1
    due: tuple[str, ...] = ()
    stage: int | None = None


PATHS = ("both", "latents", "classes")  # what a path between two images leads through


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A pass over a split that costs more than the ordinary one, and so is asked for by name.

    It has the two members of a Task that a pass over a split needs, with the same meaning:
    `make_evaluator` takes either.

    Attributes:
      help: one line, with the unit.
      eval_step: (state, batch, key, **options) -> sums over examples where mask is 1, arrays of any
        shape, with "count".
      eval_metrics: (those sums over a whole split in float64, **options) -> dict of Python floats,
        and a matrix "confusion"; names carry the protocol, such as "nll/iw200".
      options: its knobs by name; `Task.evaluation` binds them.
    """

    help: str
    eval_step: Callable[..., Metrics]
    eval_metrics: Callable[..., dict[str, Any]]
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Fit:
    """What is fitted to the training images once a network is trained, such as latents' moments.

    Attributes:
      help: one line.
      rows: (state, batch, key) -> {name: [B, ...]}, an entry an example; batch and key as of
        `Task.eval_step`.
      finish: {name: NumPy array [N, ...] of all examples} -> {name: NumPy array}, what is kept in
        the run and is in `state.buffers` where it is loaded, see `state.fitted`.
    """

    help: str
    rows: Callable[[TrainState, Batch, Key], Mapping[str, jax.Array]]
    finish: Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Transform:
    """A way in which a method changes images, and what its results are compared with.

    Attributes:
      help: one line.
      function: (state, images, keys, labels or None, **options) -> images, keys one an image.
      source: the stream whose images it takes.
      target: the stream that its results belong to.
      paired: whether every image has a partner in that stream, to compare its result with (PSNR);
        else results and stream are compared as two sets (FID).
      scale: side of a result, of the image's.
      multiple: sides of an image that it takes are multiples of it; None: those of the training.
      context: pixels to each side that an output pixel depends on; None: the whole image, as with
        norms and attention over it.
      takes_labels: whether it takes the class that a result shall have.
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


@dataclasses.dataclass(frozen=True)
class Task:
    """A method. Members that a method lacks are None; `require` turns that into an error.

    Batch leaves are `[draws, B, ...]` in `train_step` and `[B, ...]` elsewhere. `eval_step` gets
    two more leaves: "mask" [B] float32, 0 for the padding of the last batch, and "index" [B]
    int32, the example's place in its split. Images are `[B, H, W, C]` float32 in [-1, 1]. `keys`
    is one typed PRNG key an image, so that a picture does not depend on the batch that it was
    made in.

    Attributes:
      name: the family, such as "gan".
      modules: networks by name, for the model table.
      example_inputs: the abstract inputs of each network's `__call__`, batch axis 1.
      phase: step (Python int) -> Phase.
      init: key -> TrainState, pure: the caller compiles it.
      train_step: (phase, state, batch, key) -> (state, scalar metrics). `key` is already this
        step's own; `step` and `position` are advanced by the loop.
      eval_step: (state, batch, key) -> dict of sums over examples where mask is 1, with "count".
        `key` is the same for every batch.
      eval_metrics: those sums over a whole split -> dict of Python floats.
      latents: (keys, labels or None, **options) -> pytree, one entry an image.
      interpolate: (start, end, place, along) -> latents on the way from one to the other: place is
        [B] in [0, 1], along one of PATHS.
      generate: (state, latents, **options) -> images.
      statistics: (state, latents, **options) -> dict network -> its BatchNorm statistics of that
        one batch in training mode; what option "standing" averages.
      judge: (state, images, labels or None) -> logits [B], larger for real, of the discriminator
        in use: its own statistics, no augmentation.
      check_odds: how ("raw" or "calibrated") -> None; raises UserError where the logits of `judge`
        are no log odds of real to generated, or cannot be made so; see
        `gan_jax.sampling.rejection`.
      encode: (state, images, keys) -> latents.
      transforms: ways in which it changes images, by name: reconstruct, translate, restore; the
        first is what is meant where none is named.
      fits: what `--mode=fit` fits to the training images, by name.
      grids: (state, batch, key) -> dict name -> [rows, columns, H, W, C], the pictures that the
        loop writes; batch is the first images of the evaluation split. "samples" are draws of
        `generate`: the loop measures how much they vary.
      stream: of a batch, the images that `generate` makes the like of and `judge` looks at.
      takes_labels: whether `latents` and `judge` take classes.
      options: knobs of generate and of the transforms by name.
      group: the images of a microbatch on a device are at most as many, or a multiple of it.
      notes: what the person who trains it should know, a line each; printed before the first step
        and by --mode=inspect.
      evaluations: what else can be measured in a pass over a split, by the name to ask for it;
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
    transforms: Mapping[str, Transform] = dataclasses.field(default_factory=dict)
    fits: Mapping[str, Fit] = dataclasses.field(default_factory=dict)
    grids: Callable[[TrainState, Batch, Key], dict[str, jax.Array]] | None = None
    stream: str = "image"
    takes_labels: bool = False
    options: Mapping[str, Option] = dataclasses.field(default_factory=lambda: {"weights": WEIGHTS})
    group: int = 1
    notes: tuple[str, ...] = ()
    evaluations: Mapping[str, Evaluation] = dataclasses.field(default_factory=dict)

    def require(self, member: str) -> Callable[..., Any]:
        """Return a member, or raise UserError naming what this task can do."""
        function = getattr(self, member)
        if function is None:
            raise UserError(f"task {self.name!r} cannot {member}: it can {self._can()}")
        return function

    def transform(self, name: str = "") -> Transform:
        """Return a way of changing images by its name, or the first.

        Raises:
          UserError: there is none of that name, or none at all.
        """
        if not self.transforms:
            raise UserError(f"task {self.name!r} cannot transform: it can {self._can()}")
        if name:
            check_choice(f"transform of task {self.name!r}", name, self.transforms)
        return self.transforms[name or next(iter(self.transforms))]

    def _can(self) -> str:
        able = [member for member in ("generate", "encode") if getattr(self, member) is not None]
        able += ["transform"] if self.transforms else []
        return " and ".join(able) or "evaluate only"

    def check_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every option of the task, defaults filled in; raise on unknown or bad ones."""
        return check_options(f"task {self.name!r}", self.options, given)

    def evaluation(self, name: str, **given: Any) -> Evaluation:
        """Return an evaluation with its options bound, those not given at their defaults.

        Args:
          name: a key of `evaluations`.
          **given: options of that evaluation, typed or as text.

        Raises:
          UserError: for a name or an option that it has not.
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
