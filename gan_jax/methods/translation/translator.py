"""Everything that translators share except their losses: networks, augmentation, the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.core.choices import Choice, Sections, Several, build
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.metric_names import MetricName
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task, Transform
from gan_jax.methods.adversarial import SEEN
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.terms import DISC_TERMS
from gan_jax.methods.roles import check_generator, checked_discriminator
from gan_jax.methods.terms import Term, make_terms, terms_of
from gan_jax.methods.translation.networks import DISCRIMINATORS, GENERATORS, multiple
from gan_jax.methods.update import Net, Update, make_net, make_update
from gan_jax.metrics.image_quality import WINDOW, psnr, ssim
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.objectives.image import l1
from gan_jax.parallel.axes import example_keys
from gan_jax.training.optimizers import OPTIMIZERS


def translator_sections(rules: Choice, *, adversarial: bool = True) -> Sections:
    """Return the choices of each section of a translator's config.

    Args:
      rules: of the section `task`.
      adversarial: whether there is a discriminator, with an optimizer and terms.
    """
    found: dict[str, Choice | Several] = {
        "task": rules,
        "model.gen": GENERATORS,
        "model.disc": DISCRIMINATORS,
        "optim.gen": OPTIMIZERS,
        "terms.gen": terms_of(),
    }
    return {**found, "optim.disc": OPTIMIZERS, "terms.disc": DISC_TERMS} if adversarial else found


class Players(NamedTuple):
    """The networks of a translator.

    Attributes:
      nets: the networks by name.
      update: the update of these networks.
      generators: generator -> (source, target) streams.
      shapes: stream -> (H, W, C) of its images.
    """

    nets: dict[str, Net]
    update: Update
    generators: Mapping[str, tuple[str, str]]
    shapes: dict[str, tuple[int, int, int]]


def make_players(
    config: ConfigDict,
    spec: DataSpec,
    *,
    generators: Mapping[str, tuple[str, str]],
    discriminators: Mapping[str, tuple[str, ...]],
) -> Players:
    """Build generators and discriminators; all networks of a role have the same architecture.

    Args:
      config: sections model, optim and terms have "gen", and "disc" if there are discriminators.
      spec: of the data; it must have all named streams.
      generators: generator -> (source, target) streams.
      discriminators: discriminator -> its input streams, the judged one last.

    Raises:
      UserError: a stream is missing, or is not of images.
    """
    shapes = {}
    for name in dict.fromkeys(name for way in generators.values() for name in way):
        stream = spec.streams.get(name)
        if stream is None or stream.kind != "image":
            raise UserError(
                f"task {config.task.name} needs pairs or two domains, and {spec.name} has no"
                f" {name} images: name their folder with --config.data.target_path=DIR; of pairs,"
                " same file names"
            )
        shapes[name] = tuple(stream.shape)
    inputs = {name: jax.ShapeDtypeStruct((1, *s), jnp.float32) for name, s in shapes.items()}
    nets: dict[str, Net] = {}
    terms: dict[str, Term] = {}
    for name, (source, target) in generators.items():
        outputs = shapes[target][-1]
        given = dict(outputs=outputs, image_size=shapes[source][:2])
        network = build("model.gen", config.model.gen, GENERATORS, **given)
        made = (*shapes[source][:2], outputs)
        check_generator(
            config.model.gen.name, network, (inputs[source],), made, ("keys", "dropout")
        )
        nets[name] = make_net(network, (inputs[source],), config.optim.gen, config.train)
        terms |= make_terms(name, config.terms.gen, terms_of())
    for name, streams in discriminators.items():
        network = build("model.disc", config.model.disc, DISCRIMINATORS)
        given = tuple(inputs[stream] for stream in streams)
        network = checked_discriminator(config.model.disc.name, network, given)
        nets[name] = make_net(network, given, config.optim.disc, config.train, average=False)
        terms |= make_terms(name, config.terms.disc, DISC_TERMS, latent=0, codes=Codes())
    microbatches, offers = config.train.microbatches, dict.fromkeys(discriminators, SEEN)
    update = make_update(nets, terms, microbatches=microbatches, offers=offers)
    return Players(nets, update, generators, shapes)


def augmented(
    images: tuple[jax.Array, ...], key: Key, *, flip: bool, jitter: int
) -> tuple[jax.Array, ...]:
    """Mirror and shift examples at random, all images of an example (a pair) in the same way."""
    flip_key, jitter_key = jax.random.split(key)
    batch = len(images[0])
    if flip:
        images = random_flip(images, example_keys(flip_key, batch))
    if jitter:
        images = random_jitter(images, example_keys(jitter_key, batch), pad=jitter)
    return images


def make_translator(
    config: ConfigDict,
    spec: DataSpec,
    players: Players,
    train_step: Callable[[Phase, TrainState, Batch, Key], tuple[TrainState, Metrics]],
    *,
    paths: Mapping[str, tuple[str, ...]],
    buffers: Mapping[str, Any] | None = None,
    test_dropout: bool = False,
) -> Task:
    """Return a translator's task.

    Args:
      config: complete.
      spec: of the data.
      players: the networks.
      train_step: of the task.
      paths: transform -> the generators to apply one after the other.
      buffers: initial buffers of the state.
      test_dropout: whether the generators' dropout stays on in evaluation and use.
    """
    nets, update, generators, shapes = players

    def init(key: Key) -> TrainState:
        keys = jax.random.split(key, max(2, len(nets)))
        start = {
            name: net.init(k, **({"dropout": False} if name in generators else {}))
            for k, (name, net) in zip(keys, nets.items(), strict=False)
        }
        return new_state(start, {**(buffers or {}), **update.buffers(start)})

    def change(
        path: tuple[str, ...], state: TrainState, images: jax.Array, keys: Key, options: Any
    ) -> jax.Array:
        for name in path:
            variables = state.nets[name].variables(options["weights"])
            given = dict(train=False, keys=keys, dropout=options.get("dropout", False))
            images = nets[name].module.apply(variables, images, **given)
        return images

    def transform(name: str, path: tuple[str, ...]) -> Transform:
        source, target = generators[path[0]][0], generators[path[-1]][1]
        domains = {spec.streams[stream].domain for stream in (source, target)}
        what = f"{source} to {target}" if source != target else f"{source} there and back"
        return Transform(
            what,
            lambda state, images, keys, labels=None, **options: change(
                path, state, images, keys, options
            ),
            source=source,
            target=target,
            paired=len(domains) == 1 or spec.eval_pairs,
            multiple=multiple(config.model.gen.name, shapes[source][:2]),
        )

    transforms = {name: transform(name, path) for name, path in paths.items()}
    compared = {"l1": l1, "psnr": psnr}
    if min(min(shape[:2]) for shape in shapes.values()) >= WINDOW:
        compared["ssim"] = ssim
    used = {"weights": "ema", "dropout": test_dropout}

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys, values = fold_in_each(key, batch["index"]), {}
        for name, way in transforms.items():
            if way.source in batch and way.target in batch and way.paired:
                made = way.function(state, batch[way.source], keys, **used)
                for metric, compare in compared.items():
                    full = str(MetricName(metric, name if len(paths) > 1 else ""))
                    values[full] = compare(prediction=made, target=batch[way.target])
        return masked_sums(values, batch["mask"])

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        found = {}
        for name, way in transforms.items():
            images = batch[way.source]
            made = way.function(state, images, jax.random.split(key, len(images)), **used)
            columns = [images, made]
            if way.paired and way.target != way.source:
                columns.append(batch[way.target])
            channels = shapes[way.target][-1]
            title = "input_output_target" if len(paths) == 1 else f"input_output_{name}"
            found[title] = jnp.stack([_to_channels(x, channels) for x in columns], 1)
        return found

    noise = Option(test_dropout, "keep dropout on: the noise of pix2pix, results vary by seed")
    drops = config.model.gen.get("dropout", 1.0) > 0  # a network from outside may have dropout
    return Task(
        name=config.task.name,
        **update.networks,
        phase=lambda step: Phase(due=update.due(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        transforms=transforms,
        grids=grids,
        options={"weights": WEIGHTS, **({"dropout": noise} if drops else {})},
    )


def _to_channels(images: jax.Array, channels: int) -> jax.Array:
    """Convert images [..., C] to `channels` for display: repeat grey, average colours."""
    if images.shape[-1] == channels:
        return images
    grey = images[..., :3].mean(-1, keepdims=True)
    return jnp.repeat(grey, channels, -1)
