"""Everything that restorers share except their losses: pairs, patches, the network, the task.

A restorer is trained on pairs of a degraded and a clean image. Either the data have both (streams
"image" and "target"), or the degraded one is made from the clean one by `degrade` (stream "image"
alone), afresh at every step from the example's key, and always the same in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.augment.geometric import random_flip, random_turn
from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task, Transform
from gan_jax.data.degrade import DEGRADATIONS, Degradation
from gan_jax.methods.restoration.networks import NETWORKS
from gan_jax.methods.roles import check_network
from gan_jax.methods.terms import Term, make_terms, terms_of
from gan_jax.methods.update import Loss, Net, Update, make_net, make_update
from gan_jax.metrics.image_quality import WINDOW, psnr, ssim
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.ops.resample import resample
from gan_jax.parallel.axes import example_keys
from gan_jax.training.optimizers import OPTIMIZERS

Images = jax.Array
NAME = "restore"  # of the transform


def no_degradation() -> None:
    """Return no degradation: the data have pairs."""


DEGRADE = Choice({"none": no_degradation, **DEGRADATIONS.factories}, (), "none", Degradation)


def restorer_sections(rules: Choice) -> Sections:
    """Return the choices of each section of a restorer's config; `rules`: of section `task`."""
    return {
        "task": rules,
        "degrade": DEGRADE,
        "model.net": NETWORKS,
        "optim.net": OPTIMIZERS,
        "terms.net": terms_of(),
    }


class Pairs(NamedTuple):
    """How pairs of a degraded and a clean image are made.

    Attributes:
      degradation: makes the degraded image; None if the data have both.
      clean: the stream of clean images.
      shape: (H, W, C) of the clean images.
      channels: of the degraded images.
      scale: side of the clean image relative to the degraded one's.
    """

    degradation: Degradation | None
    clean: str
    shape: tuple[int, int, int]
    channels: int
    scale: int

    @property
    def protocol(self) -> str:
        """Part of metric names that says what was undone; "" for pairs of the data."""
        return self.degradation.protocol if self.degradation else ""

    def of(self, batch: Batch, keys: jax.Array) -> tuple[Images, Images]:
        """Return (degraded, clean) images of a batch; one key per example."""
        clean = batch[self.clean]
        return (self.degrade(clean, keys) if self.degradation else batch["image"]), clean

    def degrade(self, clean: Images, keys: jax.Array) -> Images:
        """Return the degraded images."""
        return self.degradation.apply(clean, keys)


def make_pairs(config: ConfigDict, spec: DataSpec) -> Pairs:
    """Return how the pairs of a config are made.

    Raises:
      UserError: pairs and a degradation, or neither; sizes that do not fit the scale.
    """
    degradation = build("degrade", config.degrade, DEGRADE)
    paired = spec.streams.get("target")
    paired = paired if paired and paired.kind == "image" else None
    if degradation and paired:
        raise UserError(
            f"degrade={config.degrade.name} with pairs of images: the data have degraded images"
            " of their own: set degrade=none, or leave data.target_path out"
        )
    if not degradation and not paired:
        raise UserError(
            f"degrade=none, and {spec.name} has no targets: name a degradation, such as"
            " --config.degrade=noise, or the folder of the clean images with"
            " --config.data.target_path=DIR"
        )
    height, width, channels = spec.image_shape
    if degradation:
        scale = degradation.scale
        if height % scale or width % scale:
            raise UserError(
                f"degrade.scale={scale} with images of {height}x{width} px: both sides must divide"
                " by it: set data.size"
            )
        return Pairs(degradation, "image", spec.image_shape, degradation.channels(channels), scale)
    shape = tuple(paired.shape)
    scale = max(1, shape[0] // height)
    if (height * scale, width * scale) != shape[:2]:
        raise UserError(
            f"pairs of {height}x{width} and {shape[0]}x{shape[1]} px: the clean image is as large"
            " as the other, or larger by an integer factor"
        )
    return Pairs(None, "target", shape, channels, scale)


class Patches(NamedTuple):
    """How training examples are cut and turned.

    Attributes:
      patch: side of a random patch of the clean image [px]; 0 takes the whole.
      flip: mirror left to right at random.
      turn: turn by multiples of 90 degrees at random.
    """

    patch: int
    flip: bool
    turn: bool


def make_patches(task: Any, pairs: Pairs) -> Patches:
    """Return how the rules of a task cut and turn training examples.

    Args:
      task: has the fields of `Patches`, among others.
      pairs: of the data.

    Raises:
      UserError: patches of that size cannot be cut.
    """
    patches = Patches(task.patch, task.flip, task.turn)
    height, width, _ = pairs.shape
    side, scale = patches.patch, pairs.scale
    most = (min(height, width) - 2 * _margin(pairs)) // scale * scale
    if side and (side % scale or not scale <= side <= most):
        raise UserError(
            f"task.patch={side}: 0 for the whole image, or a multiple of {scale} of at most {most}"
            f" px, in images of {height}x{width} px: set data.size for larger ones"
        )
    if patches.turn and not side and height != width:
        raise UserError(
            f"task.turn=true with images of {height}x{width} px: only squares can be turned: set"
            " it to false, or task.patch"
        )
    return patches


def _margin(pairs: Pairs) -> int:
    """Return how far a patch keeps away from the edges of its window [px of the clean image].

    There the degradation lacks the neighbours that it has within a photograph.
    """
    if not pairs.degradation:
        return 0
    return -(-pairs.degradation.margin // pairs.scale) * pairs.scale


def training_pairs(pairs: Pairs, patches: Patches, batch: Batch, key: Key) -> tuple[Images, Images]:
    """Return (degraded, clean) patches of a training batch, leaves [B, ...].

    Patches are cut and turned alike for both. What is degraded is a patch with a margin, which is
    cut off afterwards.
    """
    keys = jax.random.split(key, 4)
    clean, scale, margin = batch[pairs.clean], pairs.scale, _margin(pairs)
    given = (clean,) if pairs.degradation else (batch["image"], clean)
    size = len(clean)
    if patches.patch:
        sides = [(patches.patch + 2 * margin) // (clean.shape[1] // n.shape[1]) for n in given]
        given = _random_crops(given, sides, example_keys(keys[0], size), scale)
    if patches.flip:
        given = random_flip(given, example_keys(keys[1], size))
    if patches.turn:
        given = random_turn(given, example_keys(keys[2], size))
    if not pairs.degradation:
        return given
    (clean,) = given
    degraded = pairs.degrade(clean, example_keys(keys[3], size))
    if patches.patch and margin:
        low = margin // scale
        clean = clean[:, margin:-margin, margin:-margin]
        degraded = degraded[:, low:-low, low:-low]
    return degraded, clean


def _random_crops(
    images: tuple[Images, ...], sides: list[int], keys: jax.Array, scale: int
) -> tuple[Images, ...]:
    """Cut a square out of each image, from the same place of all images of an example.

    Args:
      images: a tuple of [B, H, W, C], the last the largest.
      sides: of the square in each [px].
      keys: typed PRNG keys [B].
      scale: places are multiples of it in the largest image.
    """
    room = [(n - sides[-1]) // scale + 1 for n in images[-1].shape[1:3]]
    start = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, jnp.array(room, jnp.int32)))(keys)

    def cut(x: Images, side: int) -> Images:
        factor = scale * x.shape[1] // images[-1].shape[1]
        slices = lambda one, at: jax.lax.dynamic_slice(  # noqa: E731
            one, (at[0], at[1], 0), (side, side, x.shape[-1])
        )
        return jax.vmap(slices)(x, start * factor)

    return tuple(cut(x, side) for x, side in zip(images, sides, strict=True))


def make_restoring_net(
    config: ConfigDict, pairs: Pairs, *, outputs: int | None = None, bounded: bool = True
) -> Net:
    """Build the network of section `model.net`.

    Args:
      config: complete.
      pairs: of the data.
      outputs: channels of its output; None for those of the clean images.
      bounded: whether the outputs are in [-1, 1].

    Raises:
      UserError: the network does not return images of the clean size.
    """
    name = config.model.net.name
    outputs = outputs or pairs.shape[-1]
    height, width, _ = pairs.shape
    low = (height // pairs.scale, width // pairs.scale, pairs.channels)
    inputs = (jax.ShapeDtypeStruct((1, *low), jnp.float32),)
    given = dict(outputs=outputs, scale=pairs.scale, bounded=bounded)
    network = build("model.net", config.model.net, NETWORKS, **given)
    wanted = (1, height, width, outputs)
    check_network(
        "model.net",
        name,
        network,
        inputs,
        fits=lambda shapes: shapes == [wanted],
        wanted=f"images {list(wanted)}",
    )
    found = jax.eval_shape(
        lambda key, x: network.init_with_output(key, x, train=False)[0], jax.random.key(0), *inputs
    )
    if found.shape != wanted:
        raise UserError(
            f"model.net={name} maps {low[0]}x{low[1]} px to {found.shape[1]}x{found.shape[2]}, and"
            f" the clean images are {height}x{width}: use a network that enlarges, such as edsr,"
            " for degrade=downscale, and one that keeps the size for the others"
        )
    return make_net(network, inputs, config.optim.net, config.train)


def restorer_terms(config: ConfigDict) -> dict[str, Term]:
    """Return the terms of the network's loss."""
    return make_terms("net", config.terms.net, terms_of())


def make_restorer_update(config: ConfigDict, net: Net) -> Update:
    """Return the update of a restorer whose network is its only one."""
    terms, microbatches = restorer_terms(config), config.train.microbatches
    return make_update({"net": net}, terms, microbatches=microbatches)


def one_update(
    update: Update, pairs: Pairs, patches: Patches, loss: Loss
) -> Callable[[Phase, TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """Return the training step that is one update of the network.

    Args:
      update: of the network.
      pairs, patches: how (degraded, clean) patches are made, the inputs of the loss.
      loss: as in `Update`.
    """

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        data_key, term_key = jax.random.split(key)
        inputs = training_pairs(pairs, patches, {k: x[0] for k, x in batch.items()}, data_key)
        state, metrics, _ = update(state, ("net",), loss, inputs, key=term_key, phase=phase)
        return state, metrics

    return train_step


def make_restorer(
    config: ConfigDict,
    spec: DataSpec,
    pairs: Pairs,
    net: Net,
    update: Update,
    train_step: Callable[[Phase, TrainState, Batch, Key], tuple[TrainState, Metrics]],
    *,
    image: Callable[[Images, Images], Images] = lambda inputs, outputs: outputs,
    compared: Mapping[str, Callable[..., jax.Array]] | None = None,
    takes_mask: bool = False,
    buffers: Mapping[str, Any] | None = None,
    extra_init: Callable[[Key], dict[str, Any]] | None = None,
) -> Task:
    """Return a restorer's task.

    Args:
      config: complete.
      spec: of the data.
      pairs: of the data.
      net: the network.
      update: of all networks.
      train_step: of the task.
      image: (inputs, the network's outputs) -> restored images; by default the outputs.
      compared: further metrics by name: (inputs=, prediction=, target=) -> [B].
      takes_mask: whether the last channel of the degraded images is a mask.
      buffers: initial buffers of the state.
      extra_init: key -> initial state of further networks by name.
    """

    def init(key: Key) -> TrainState:
        first, rest = jax.random.split(key)
        start = {"net": net.init(first), **(extra_init(rest) if extra_init else {})}
        return new_state(start, {**(buffers or {}), **update.buffers(start)})

    def restore(state: TrainState, inputs: Images, variables: Mapping[str, Any]) -> Images:
        outputs = net.module.apply(variables, inputs, train=False)
        return jnp.clip(image(inputs, outputs), -1, 1)

    def function(
        state: TrainState, images: Images, keys: jax.Array, labels: None = None, **options: Any
    ) -> Images:
        return restore(state, images, state.nets["net"].variables(options["weights"]))

    large = min(pairs.shape[:2]) >= WINDOW

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        inputs, clean = pairs.of(batch, fold_in_each(key, batch["index"]))
        made = restore(state, inputs, state.nets["net"].variables("ema"))
        values = {"psnr": psnr(prediction=made, target=clean)}
        if large:
            values["ssim"] = ssim(prediction=made, target=clean)
        for name, compare in (compared or {}).items():
            values[name] = compare(inputs=inputs, prediction=made, target=clean)
        return masked_sums(values, batch["mask"])

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        clean = batch[pairs.clean]
        inputs, clean = pairs.of(batch, jax.random.split(key, len(clean)))
        made = restore(state, inputs, state.nets["net"].variables("ema"))
        columns = [shown_inputs(inputs, clean.shape), made, clean]
        if pairs.scale == 1:
            return {"input_output_target": jnp.stack(columns, 1)}
        enlarged = jnp.clip(resample(inputs, clean.shape[1:3], "bicubic"), -1, 1)
        return {"input_output_target_bicubic": jnp.stack([*columns, enlarged], 1)}

    module = net.module
    return Task(
        name=config.task.name,
        **update.networks,
        phase=lambda step: Phase(due=update.due(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        transforms={
            NAME: Transform(
                pairs.degradation.help if pairs.degradation else "image to target",
                function,
                source="image",
                target=pairs.clean,
                scale=pairs.scale,
                multiple=getattr(module, "multiple", None),
                context=getattr(module, "context", None),
                degrade=pairs.degrade if pairs.degradation else None,
                channels=pairs.channels - takes_mask,
                takes_mask=takes_mask,
                protocol=pairs.protocol,
            )
        },
        grids=grids,
        options={"weights": WEIGHTS},
    )


def shown_inputs(inputs: Images, shape: tuple[int, ...]) -> Images:
    """Return input images at the size and with the channels of others [B, H, W, C], for display.

    Pixels are repeated; a mask's channel is left out, and grey is repeated.
    """
    factor = shape[1] // inputs.shape[1]
    images = inputs[..., : shape[-1]] if inputs.shape[-1] >= shape[-1] else inputs[..., :1]
    images = jnp.clip(images, -1, 1).repeat(factor, 1).repeat(factor, 2)
    return jnp.broadcast_to(images, (*images.shape[:3], shape[-1]))
