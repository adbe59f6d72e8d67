"""A trained run in Python: `run = gan_jax.load("runs/quickstart"); run.sample(16, seed=0)`.

Needs only the run's directory: no data set, no flags, no internet.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.config import apply_overrides, check_config, check_seed
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.keys import image_keys
from gan_jax.core.outside import trusting
from gan_jax.core.places import DATA, DATA_FIELDS, is_place, place
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import FITTED, TrainState
from gan_jax.core.task import PATHS, Task
from gan_jax.data import Dataset, Split, open_data
from gan_jax.library.fitted import fit, read_fitted, select_fits, write_fitted
from gan_jax.library.given_images import model_images
from gan_jax.library.summary import as_html, as_text
from gan_jax.library.transforms import make_changer
from gan_jax.methods.registry import make_task
from gan_jax.parallel import hosts
from gan_jax.parallel.mesh import Parallel, make_parallel
from gan_jax.platform.logs import quiet_libraries
from gan_jax.rundir.checkpoint import Checkpoints, abstract_state
from gan_jax.rundir.workdir import check_spec, read_config, read_spec, remember_places
from gan_jax.sampling.rejection import keep, trial_keys
from gan_jax.sampling.standing import with_standing

logger = logging.getLogger(__name__)

Labels = int | str | Sequence[int | str]  # numbers of classes, or their names


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A checkpoint with everything needed to use it.

    Attributes:
      workdir: the run's directory.
      config: the resolved config of the training.
      spec: description of the training data.
      task: the method.
      state: the restored TrainState.
      step: step of the checkpoint.
      parallel: the devices over which calls are distributed.
      change: whether its data may have changed since it was trained, see `load`.
      trust_code: whether external code that opens its data may be imported, see `load`.
    """

    workdir: Path
    config: ConfigDict
    spec: DataSpec
    task: Task
    state: TrainState
    step: int
    parallel: Parallel
    change: bool = False
    trust_code: bool = False
    _compiled_functions: dict = dataclasses.field(default_factory=dict, repr=False)

    def sample(
        self,
        num: int,
        *,
        seed: int = 0,
        labels: Labels | None = None,
        batch_size: int = 64,
        **options: Any,
    ) -> np.ndarray:
        """Draw images.

        Args:
          num: number of images.
          seed: image i depends only on (seed, i) and its label, not on num or batch_size.
          labels: class of each image, its name or number: one for all, or a list that is repeated
            to `num`; None lets a conditional model draw them.
          batch_size: images per batch.
          **options: task options, such as weights="raw" or standing=16; see `run.task.options`.
            With rejection (`gan_jax.sampling.rejection`) only accepted images are returned.

        Returns:
          [num, H, W, C] float32 in [-1, 1].
        """
        given = dict(seed=seed, labels=labels, batch_size=batch_size, **options)
        return self.sample_labelled(num, **given)[0]

    def sample_labelled(
        self,
        num: int,
        *,
        seed: int = 0,
        labels: int | Sequence[int] | None = None,
        batch_size: int = 64,
        **options: Any,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw images as `sample` does; return them with the class of each.

        Returns:
          (images, classes int32 [num]); classes are None if the model is unconditional.
        """
        generate, latents = self.task.require("generate"), self.task.require("latents")
        if num < 1:
            raise UserError(f"num={num}: at least 1")
        options = self.task.check_options(options)
        chosen = None if labels is None else np.resize(self._check_labels(labels), num)

        def draw(state: TrainState, keys: jax.Array, labels: jax.Array | None) -> Any:
            drawn = latents(keys, labels, **options)
            # Among the inputs of a generator, only the classes are integers.
            classes = [x for x in jax.tree.leaves(drawn) if jnp.issubdtype(x.dtype, jnp.integer)]
            return generate(state, drawn, **options), classes

        compiled = self._compiled("sample", draw, options)
        state, trials = self._state_and_trials(num, seed, chosen, batch_size, options)

        def call(index: np.ndarray) -> Any:
            placed = None if chosen is None else self.parallel.place(chosen[index])
            return compiled(state, self._keys(seed, index, trials), placed)

        images, classes = self._in_batches(call, num, batch_size)
        return images, classes[0].astype(np.int32) if classes else None

    def interpolate(
        self,
        rows: int,
        *,
        steps: int = 8,
        along: str = "both",
        seed: int = 0,
        labels: Labels | None = None,
        batch_size: int = 64,
        **options: Any,
    ) -> np.ndarray:
        """Draw interpolations between pairs of images.

        Path i leads from image 2i of `sample` with the same seed, labels and options to image
        2i + 1. Latents are interpolated along the sphere (Shoemake 1985; arXiv:1609.04468), classes
        linearly between their representations in the network.

        Args:
          rows: number of paths.
          steps: images per path, including both ends; at least 2.
          along: "both"; or only "latents" or "classes", while the other is that of the start.
          seed: as in `sample`.
          labels: as in `sample`: class of image 2i, class of image 2i + 1.
          batch_size: images per batch.
          **options: task options, as in `sample`.

        Returns:
          [rows, steps, H, W, C] float32 in [-1, 1].
        """
        generate, latents = self.task.require("generate"), self.task.require("latents")
        interpolate = self.task.require("interpolate")
        check_choice("--interpolate (along)", along, PATHS)
        for name, value, least in (("--num (rows)", rows, 1), ("--steps (steps)", steps, 2)):
            if value < least:
                raise UserError(f"{name}={value}: at least {least}")
        options = self.task.check_options(options)
        chosen = None if labels is None else np.resize(self._check_labels(labels), 2 * rows)
        place = self.parallel.place

        def draw(state: TrainState, start: Any, end: Any, share: jax.Array) -> jax.Array:
            ends = (latents(keys, label, **options) for keys, label in (start, end))
            return generate(state, interpolate(*ends, share, along), **options)

        compiled = self._compiled("interpolate", draw, {**options, "along": along})
        state, trials = self._state_and_trials(2 * rows, seed, chosen, batch_size, options)

        def call(index: np.ndarray) -> jax.Array:
            first = 2 * (index // steps)
            ends = [
                (self._keys(seed, end, trials), None if chosen is None else place(chosen[end]))
                for end in (first, first + 1)
            ]
            return compiled(state, *ends, place((index % steps / (steps - 1)).astype(np.float32)))

        images = self._in_batches(call, rows * steps, batch_size)
        return images.reshape(rows, steps, *images.shape[1:])

    def transform(
        self,
        images: Any,
        name: str = "",
        *,
        labels: Labels | None = None,
        mask: Any = None,
        size: tuple[int, int] | None = None,
        tile: int | str | None = None,
        seed: int = 0,
        batch_size: int = 64,
        **options: Any,
    ) -> Any:
        """Transform images: reconstruct, translate or restore, depending on the task.

        Results have the size of their image times the transform's scale. A transform that works at
        the training size only (`multiple` is None) resizes uint8 images to it, as in training.

        Args:
          images: a photo: an array [H, W, C] or grey [H, W], a Pillow image, or the path of a file;
            a list of photos of any sizes; or an array [N, H, W, C]. uint8, or floats in [-1, 1].
          name: one of `run.task.transforms`; "" is the first.
          labels: the class that each result is to have, as in `sample`; only for a transform that
            takes one.
          mask: for a transform that fills in pixels: where, bool [H, W], or uint8 with 255 there;
            one for each image.
          size: (height, width) [px] that uint8 images are resized to first, as in training.
          tile: images with a side above this [px] are cut into overlapping tiles, without seams;
            None is 256 or, if an output pixel sees much, four times its `context`. A transform
            without a finite context takes the whole image. "approximate" blends tiles of 512 px,
            which saves memory, and results differ from those of the whole image.
          seed: seed for random draws of the task; those of image i depend on (seed, i).
          batch_size: images per batch; fewer if they are larger than those of the training.
          **options: task options.

        Returns:
          float32 in [-1, 1]: [H', W', C'] for one photo, a list for a list, and [N, H', W', C'] for
          an array.

        Raises:
          UserError: unsupported images, such as floats in [0, 255]; or what the transform does not
            take.
        """
        given = dict(labels=labels, size=size, tile=tile, seed=seed, options=options)
        return make_changer(self, name, **given).images(images, mask, batch_size)

    def predict(self, images: Any, *, batch_size: int = 64) -> np.ndarray:
        """Classify images, or predict their values.

        Args:
          images: as in `transform`; uint8 images are resized as in training.
          batch_size: images per batch.

        Returns:
          [N, K] float32, [K] for one photo: the probabilities of the classes
          (`run.spec.class_names`), or values in the target's unit (`run.task.predict.names`).

        Raises:
          UserError: the task does not predict, or unsupported images.
        """
        function = self.task.require("predict").function
        compiled = self._compiled("predict", lambda state, x, keys: function(state, x), {})
        given, kind = model_images(images, self.spec, self.task.stream)
        made = self._map(compiled, [given], 0, batch_size)
        return made[0] if kind == "one" else made

    def encode(self, images: Any, *, seed: int = 0, batch_size: int = 64) -> Any:
        """Encode images (as in `transform`) to latents.

        Returns:
          A pytree of [N, ...] arrays; without N for one photo.
        """
        compiled = self._compiled("encode", self.task.require("encode"), {})
        given, kind = model_images(images, self.spec, self.task.stream)
        made = self._map(compiled, [given], seed, batch_size)
        return jax.tree.map(lambda x: x[0], made) if kind == "one" else made

    def fit(self, name: str = "", *, seed: int = 0) -> Run:
        """Run the task's fits on the training images, and store the results in the run's directory.

        Args:
          name: one of `run.task.fits`; "" runs all.
          seed: seed for random draws.

        Returns:
          The run with the fitted arrays; `gan_jax.load` reads them from now on.

        Raises:
          UserError: the task has nothing to fit, or the data are not available.
        """
        check_seed("seed", seed)
        size = self.parallel.round_up(self.config.eval.batch_size)
        split = self.dataset.examples("train", self.task.stream)
        given = (select_fits(self.task, name), self.state, split, self.parallel)
        found = fit(*given, batch_size=size, seed=seed)
        write_fitted(self.workdir, self.step, found)
        there = {**self.state.buffers.get(FITTED, {}), **self.parallel.place_whole(found)}
        state = self.state.replace(buffers={**self.state.buffers, FITTED: there})
        return dataclasses.replace(self, state=state, _compiled_functions={})

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data that the run was trained on, opened at first use.

        Raises:
          UserError: the data are not available, or have changed.
        """
        with trusting(self.trust_code):
            dataset, source = open_data(self.config.data), self.config.data.source
        spec = check_spec(self.workdir, dataset.spec, source=source, change=self.change)
        return dataclasses.replace(dataset, spec=spec)

    def held_out(self) -> Split:
        """Return split "eval" of the run's data, on which it was not trained."""
        return self.dataset.examples("eval", self.task.stream)

    def _state_and_trials(
        self,
        num: int,
        seed: int,
        labels: np.ndarray | None,
        batch_size: int,
        options: dict[str, Any],
    ) -> tuple[TrainState, np.ndarray | None]:
        """Return the state to sample from, and the accepted trial of each image (None: the first).

        Implements the options "standing" and "rejection".
        """
        check_seed("seed", seed)
        common = dict(
            parallel=self.parallel,
            labels=None if labels is None else lambda place: labels[place % len(labels)],
            options=options,
        )
        size = self.config.train.batch_size
        state = with_standing(self.task, self.state, seed=seed, batch_size=size, **common)
        key = self.parallel.replicate(lambda: jax.random.key(seed))
        kept = keep(
            self.task,
            state,
            key=key,
            num=num,
            batch_size=batch_size,
            held_out=self.held_out,
            **common,
        )
        if kept is None:
            return state, None
        logger.warning("%s", kept)
        return state, kept.trials

    def _map(
        self,
        compiled: Callable[..., Any],
        given: list[np.ndarray],
        seed: int,
        batch_size: int,
        numbers: np.ndarray | None = None,
    ) -> Any:
        """Apply `compiled(state, images, keys, ...)` to arrays [N, ...], images first.

        Image i has the key of number i, or of `numbers[i]`.
        """
        check_seed("seed", seed)
        numbers = np.arange(len(given[0])) if numbers is None else numbers

        def call(index: np.ndarray) -> Any:
            images, *rest = (self.parallel.place(array[index]) for array in given)
            return compiled(self.state, images, self._keys(seed, numbers[index]), *rest)

        return self._in_batches(call, len(given[0]), batch_size)

    def _in_batches(self, call: Callable[[np.ndarray], Any], num: int, batch_size: int) -> Any:
        """Run `call(indices)` in batches of constant size; the last is padded, then truncated."""
        size = self.parallel.round_up(min(batch_size, num))
        parts = []
        for start in range(0, num, size):
            index = np.minimum(np.arange(start, start + size), num - 1)
            part = jax.device_get(call(index))
            parts.append(jax.tree.map(lambda x, n=num - start: x[:n], part))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _compiled(self, name: str, function: Callable[..., Any], options: dict) -> Callable:
        # One compilation per set of options, cached in the run.
        key = (name, *sorted(options.items()))
        if key not in self._compiled_functions:
            self._compiled_functions[key] = self.parallel.compile_map(function)
        return self._compiled_functions[key]

    def _keys(self, seed: int, index: np.ndarray, trials: np.ndarray | None = None) -> jax.Array:
        if trials is None:
            keys = image_keys(seed, index)
        else:
            keys = trial_keys(jax.random.key(seed), index.astype(np.int32), trials[index])
        return jax.device_put(keys, self.parallel.split())

    def _check_labels(self, labels: Labels) -> np.ndarray:
        if not self.spec.num_classes:
            raise UserError(f"labels={labels}: {self.spec.name} has no labels, leave them out")
        several = [labels] if isinstance(labels, str) or np.ndim(labels) == 0 else labels
        array = np.asarray([self.spec.label(x) if isinstance(x, str) else x for x in several])
        bad = array[(array < 0) | (array >= self.spec.num_classes)]
        if bad.size or array.dtype.kind not in "iu":
            raise UserError(
                f"labels={labels}: whole numbers from 0 to {self.spec.num_classes - 1}"
                f" ({', '.join(self.spec.class_names[:12])})"
            )
        return array.astype(np.int32)


def load(
    workdir: str | Path,
    *,
    checkpoint: str | int = "",
    data: Mapping[str, str] | None = None,
    change: bool = False,
    trust_code: bool = False,
) -> Run:
    """Open a run for use.

    Args:
      workdir: the run's directory. Nothing is written to it, except new paths of its data.
      checkpoint: "latest", "best" or a step; "" is the best if the run chose one by `eval.best`,
        else the latest.
      data: new paths of its data, such as {"data.path": "~/photos"}, and other `DATA_FIELDS`, as
        text. The data are opened, and if they are those that the run was trained on, the paths are
        stored in the run.
      change: whether the images of a folder may differ from those that it was trained on, such as
        after adding some.
      trust_code: whether external code that the run names ("my_package.module:Network") may be
        imported: it can do anything.

    Raises:
      UserError: no run, no such checkpoint, no intact checkpoint, other data, or external code that
        is not trusted or not found.
    """
    with trusting(trust_code):
        return _load(workdir, checkpoint, data, change=change, trust_code=trust_code)


def _load(
    workdir: str | Path,
    checkpoint: str | int,
    data: Mapping[str, str] | None,
    *,
    change: bool,
    trust_code: bool,
) -> Run:
    quiet_libraries()
    workdir = place(workdir)
    config, spec = read_config(workdir), read_spec(workdir)
    if data:
        for name in data:
            check_choice("data (fields of a run's data)", name, DATA_FIELDS)
        apply_overrides(config, data)
        check_config(config)
        for name in DATA:
            if name in data and not is_place(config, name):
                raise UserError(
                    f"--config.{name}={data[name]}: no place of data.source={config.data.source}"
                )
    parallel = make_parallel()
    task = make_task(config, spec)
    with Checkpoints(
        workdir / "checkpoints", keep=config.train.keep, best=config.eval.best, read_only=True
    ) as checkpoints:
        wanted = _wanted_step(checkpoints, checkpoint, config.eval.best)
        restored = checkpoints.restore(abstract_state(task, parallel), wanted)
    if restored is None:
        raise UserError(f"{workdir} has no checkpoint yet: train it with --workdir={workdir}")
    state, step = restored
    if arrays := read_fitted(workdir, step):
        placed = parallel.place_whole(arrays)
        state = state.replace(buffers={**state.buffers, FITTED: placed})
    run = Run(workdir, config, spec, task, state, step, parallel, change, trust_code)
    if data and run.dataset.spec.same_data(spec) and hosts.first():
        remember_places(workdir, config)
    return run


def _wanted_step(checkpoints: Checkpoints, checkpoint: str | int, best: str) -> int | None:
    text = str(checkpoint)
    if text == "latest" or (not text and not best):
        return None
    if text in ("", "best"):
        step = checkpoints.best_step()
        if step is None and text:
            raise UserError(
                "--checkpoint=best: this run has none; set eval.every and eval.best at training"
            )
        return step
    steps = checkpoints.steps()
    if not text.isdigit() or int(text) not in steps:
        kept = ", ".join(map(str, steps)) or "none"
        raise UserError(f"--checkpoint={text}: latest, best, or one of the steps kept ({kept})")
    return int(text)
