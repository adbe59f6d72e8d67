"""Terms of a GAN's players, by name (`config.terms.disc` and `config.terms.gen`).

What an update of either player sees is in `DISC_SEEN` and `GEN_SEEN`:

  judge: images -> Outputs, one more pass of the discriminator in training that moves nothing, given
    the classes of the real images.
  judge_fake: the same, given the classes of the generated ones.
  generate: the generator's arguments -> images, one more pass that moves nothing.
  real, fake: images [B, H, W, C], augmented if the discriminator's are.
  real_out, fake_out: Outputs of the pass over them; a generator's update has no `real_out`: a term
    that needs it judges `real`.
  given: what the real images are given, () or (labels,).
  drawn: the generator's arguments, (latents,) or (latents, labels).
  labelled: (images, labels) of examples with a label, in semi-supervised learning; augmented
    likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.augment.diffaugment import PARTS, diffaugment
from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.core.errors import UserError
from gan_jax.methods.gan.classes import class_loss
from gan_jax.methods.terms import Kind, Term, historical, orthogonal, plain
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives import gradient_penalty as penalties
from gan_jax.objectives import logits
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import normalized_temperature_cross_entropy
from gan_jax.objectives.path_length import moved_length, path_lengths
from gan_jax.parallel.axes import axis_mean

GEN_SEEN = ("judge", "judge_fake", "generate", "real", "fake", "fake_out", "given", "drawn")
DISC_SEEN = (*GEN_SEEN, "real_out", "labelled")
# Of the discriminator's, those that take the gradient of a logit in its own image.
GRADIENT_TERMS = (
    "gradient_penalty",
    "zero_centred_penalty",
    "one_sided_penalty",
    "dragan",
    "r1",
    "r2",
)
LECAM_DECAY = 0.99  # of the averages of logits, arXiv:2104.03310, section 4.1
Seen = Mapping[str, Any]


def disc_terms(config: ConfigDict) -> dict[str, Kind]:
    """Return the discriminator's terms by name; each docstring of a function called has its paper.

    Args:
      config: the whole config.
    """
    terms = config.terms
    return {
        "gradient_penalty": penalty(penalties.one_centred),
        "zero_centred_penalty": penalty(penalties.zero_centred),
        "one_sided_penalty": penalty(penalties.one_sided),
        "dragan": plain(
            lambda seen, keys: penalties.dragan(
                critic=critic(seen["judge"]), real=seen["real"], keys=keys
            ),
            ("judge", "real"),
        ),
        "r1": plain(
            lambda seen, _: penalties.r1(critic=critic(seen["judge"]), images=seen["real"]),
            ("judge", "real"),
        ),
        "r2": plain(
            lambda seen, _: penalties.r1(critic=critic(seen["judge_fake"]), images=seen["fake"]),
            ("judge_fake", "fake"),
        ),
        "consistency": consistency(terms.flip),
        "fake_consistency": fake_consistency(terms.flip),
        "latent_consistency": latent_consistency(terms.latent_step),
        "lecam": lecam(),
        "drift": plain(lambda seen, _: logits.drift(logits=seen["real_out"].logits), ("real_out",)),
        "orthogonal": orthogonal("disc"),
        "historical": historical("disc"),
        "classes": real_classes(config),
        "rotation": rotation("judge", "real"),
        "codes": codes(config.model.latent, config.model.categorical_codes),
        "labelled": plain(labelled, ("judge", "labelled")),
        "views": views(terms.temperature),
    }


def gen_terms(config: ConfigDict) -> dict[str, Kind]:
    """Return the generator's terms by name, as `disc_terms`."""
    return {
        "latent_diversity": latent_diversity(config.terms.latent_step),
        "path_length": path_length(),
        "orthogonal": orthogonal("gen"),
        "historical": historical("gen"),
        "feature_matching": plain(feature_matching, ("judge", "real", "fake_out")),
        "classes": fake_classes(config),
        "rotation": rotation("judge_fake", "fake"),
        "codes": codes(config.model.latent, config.model.categorical_codes),
    }


def make_terms(config: ConfigDict) -> dict[str, Term]:
    """Return the terms of both players whose weight is not 0, by "PLAYER/NAME".

    Args:
      config: the whole config; `terms.PLAYER.NAME` has a weight and an interval.

    Raises:
      UserError: a negative weight, or an interval below 1.
    """
    found = {}
    for player, kinds in (("disc", disc_terms(config)), ("gen", gen_terms(config))):
        for name, kind in kinds.items():
            weight, every = (config.terms[player][name][field] for field in ("weight", "every"))
            if weight < 0:
                raise UserError(f"terms.*.{name}.weight={weight}: at least 0, which is none")
            if every < 1:
                raise UserError(f"terms.*.{name}.every={every}: at least 1, which is every step")
            if weight:
                found[f"{player}/{name}"] = kind.term(player, weight, every)
    return found


def critic(judge: Callable[[jax.Array], Outputs]) -> Callable[[jax.Array], jax.Array]:
    """Return a function from images to logits."""
    return lambda images: judge(images).logits


def penalty(target: Callable[[jax.Array], jax.Array]) -> Kind:
    """Return a penalty between real and generated images, see `penalties.gradient_penalty`."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        given = dict(real=seen["real"], fake=seen["fake"], keys=keys, target=target)
        return penalties.gradient_penalty(critic=critic(seen["judge"]), **given)

    return plain(value, ("judge", "real", "fake"))


def consistency(flip: bool) -> Kind:
    """Return CR: real images are judged as `shifted` ones are."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        again = seen["judge"](shifted(seen["real"], keys, flip=flip))
        return logits.consistency(logits=seen["real_out"].logits, changed=again.logits)

    return plain(value, ("judge", "real", "real_out"))


def fake_consistency(flip: bool) -> Kind:
    """Return the generated images' half of bCR."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        again = seen["judge_fake"](shifted(seen["fake"], keys, flip=flip))
        return logits.consistency(logits=seen["fake_out"].logits, changed=again.logits)

    return plain(value, ("judge_fake", "fake", "fake_out"))


def latent_consistency(std: float) -> Kind:
    """Return the discriminator's half of zCR."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        near = seen["generate"](*stepped(seen["drawn"], keys, std))
        changed = seen["judge_fake"](near).logits
        return logits.consistency(logits=seen["fake_out"].logits, changed=changed)

    return plain(value, ("generate", "drawn", "judge_fake", "fake_out"))


def latent_diversity(std: float) -> Kind:
    """Return the generator's half of zCR (arXiv:2002.04724, algorithm 2): near latents look apart.

    A mean over the pixels, as StudioGAN has it, with weight 0.5; the algorithm has a squared norm,
    H W C times as much.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        near = seen["generate"](*stepped(seen["drawn"], keys, std))
        return -jnp.square(seen["generate"](*seen["drawn"]) - near).mean((1, 2, 3))

    return plain(value, ("generate", "drawn"))


def lecam() -> Kind:
    """Return LeCam's term; its buffer has the averages of logits so far, and of how many updates.

    Of the update at hand it takes the batch, which is a microbatch where there are such.
    """

    def value(nets: Any, seen: Seen, keys: jax.Array, buffer: Any) -> Any:
        real, fake = seen["real_out"].logits, seen["fake_out"].logits
        means = {"real": real.mean(), "fake": fake.mean()}
        averages = logits.current_averages(
            buffer["averages"], axis_mean(means), LECAM_DECAY, buffer["updates"]
        )
        return logits.lecam(real_logits=real, fake_logits=fake, averages=averages), means

    def init(params: Any) -> Any:
        averages = {"real": jnp.zeros(()), "fake": jnp.zeros(())}
        return {"averages": averages, "updates": jnp.zeros((), jnp.int32)}

    def following(buffer: Any, statistics: Any, net: Any, step: jax.Array) -> Any:
        averages = logits.moved_averages(buffer["averages"], statistics, LECAM_DECAY)
        return {"averages": averages, "updates": buffer["updates"] + 1}

    return Kind(value, ("real_out", "fake_out"), init, following)


def path_length() -> Kind:
    """Return path length regularisation, see `objectives.path_length`.

    Its buffer is the length that paths are drawn to, an average of those so far. With the class
    held, and in the latents that the generator is given: there is no mapping network here.
    """

    def value(nets: Any, seen: Seen, keys: jax.Array, buffer: Any) -> Any:
        latents, *labels = seen["drawn"]
        lengths = path_lengths(lambda z: seen["generate"](z, *labels), latents, keys)
        mean = lengths.mean()
        target = moved_length(buffer, jax.lax.stop_gradient(axis_mean(mean)))
        return jnp.square(lengths - target), {"length": mean}

    return Kind(
        value,
        ("generate", "drawn"),
        lambda params: jnp.zeros(()),
        lambda buffer, statistics, net, step: moved_length(buffer, statistics["length"]),
    )


def real_classes(config: ConfigDict) -> Kind:
    """Return what the discriminator loses by its head of classes, see `class_loss`.

    An auxiliary classifier learns on real and on generated images (arXiv:1610.09585), embeddings on
    real ones (arXiv:2006.12681, algorithm 1; arXiv:2111.01118, section 3.3).
    """
    loss, both = class_loss(config), config.model.conditional == "classifier"

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        on_fake = loss(seen["fake_out"], seen["drawn"][1]) if both else 0.0
        return loss(seen["real_out"], seen["given"][0]) + on_fake

    return plain(value, ("real_out", "fake_out", "given", "drawn"))


def fake_classes(config: ConfigDict) -> Kind:
    """Return what the generator loses by the discriminator's head of classes, on its own images."""
    loss = class_loss(config)
    return plain(lambda seen, _: loss(seen["fake_out"], seen["drawn"][1]), ("fake_out", "drawn"))


def rotation(judge: str, images: str) -> Kind:
    """Return the cross entropy of guessing how images were turned (SSGAN, arXiv:1811.11212).

    Each image is turned once, by 0, 90, 180 or 270 degrees drawn from its key. (The authors turn a
    quarter of the batch all four ways.)

    Args:
      judge: which pass, "judge" or "judge_fake".
      images: of which, "real" or "fake".
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)
        every = jnp.stack([jnp.rot90(seen[images], k, (1, 2)) for k in range(4)])
        turned = jax.vmap(lambda four, k: four[k], (1, 0))(every, turns)
        return cross_entropy(logits=seen[judge](turned).heads["rotation"], labels=turns)

    return plain(value, (judge, images))


def codes(latent: int, categorical: Sequence[int]) -> Kind:
    """Return -log Q(c | G(z, c)), the negative bound of InfoGAN (arXiv:1606.03657).

    The codes are the last dimensions of the latents: one-hot categorical ones, then continuous
    ones, whose Q is a normal of variance 1, without its constant.

    Args:
      latent: dimensions before the codes.
      categorical: sizes of the categorical codes.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        guessed, latents = seen["fake_out"].heads["codes"], seen["drawn"][0]
        given, total, start = latents[:, latent:], jnp.zeros(len(latents)), 0
        for size in categorical:
            part = slice(start, start + size)
            labels = given[:, part].argmax(-1)
            total = total + cross_entropy(logits=guessed[:, part], labels=labels)
            start += size
        return total + jnp.square(given[:, start:] - guessed[:, start:]).sum(-1) / 2

    return plain(value, ("fake_out", "drawn"))


def views(temperature: float) -> Kind:
    """Return SimCLR's loss of two DiffAugment views of each real image (arXiv:2002.05709)."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        both = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        first, second = (
            seen["judge"](diffaugment(seen["real"], half, tuple(PARTS))).heads["view"]
            for half in both
        )
        given = dict(first=first, second=second, temperature=temperature)
        return normalized_temperature_cross_entropy(**given)

    return plain(value, ("judge", "real"))


def labelled(seen: Seen, keys: jax.Array) -> jax.Array:
    """Return the cross entropy of the class, given real (arXiv:1606.03498, section 5).

    -log p(y | x, y < K + 1), of images with a label.
    """
    images, labels = seen["labelled"]
    return cross_entropy(logits=seen["judge"](images).heads["class"], labels=labels)


def feature_matching(seen: Seen, keys: jax.Array) -> jax.Array:
    """Return |E f(x) - E f(G(z))|^2 (Salimans et al. 2016, arXiv:1606.03498, section 3.1).

    f is what the discriminator's last layer sees (the authors' code for MNIST: the layer before);
    the means are over the batch, on all devices.
    """
    real, fake = (
        axis_mean(out.features.mean(0)) for out in (seen["judge"](seen["real"]), seen["fake_out"])
    )
    return jnp.square(real - fake).sum()


def shifted(images: jax.Array, keys: jax.Array, *, flip: bool) -> jax.Array:
    """Mirror half of the images, and shift them by up to an eighth of a side, reflected beyond.

    4 px of 32, as CR does (arXiv:1910.12027), and as StudioGAN does it.

    Args:
      images: [B, H, W, C].
      keys: typed keys [B].
      flip: whether to mirror.
    """
    flip_keys, shift_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    if flip:
        (images,) = random_flip((images,), flip_keys)
    pad = max(min(images.shape[1:3]) // 8, 1)
    return random_jitter((images,), shift_keys, pad=pad, reflect=True)[0]


def stepped(drawn: tuple, keys: jax.Array, std: float) -> tuple:
    """Return the generator's arguments with a normal step of the latents."""
    latents, *labels = drawn
    noise = jax.vmap(lambda key: jax.random.normal(key, latents.shape[1:]))(keys)
    return (latents + std * noise, *labels)
