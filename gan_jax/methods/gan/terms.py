"""Terms: what each player's loss may have beside the game, by name (`config.terms`).

A term is a small pure function of what the players saw in an update; the network that is being
updated minimises weight times its mean. A lazy term (`every` above 1) is taken at one of so many
steps with so many times its weight (Karras et al. 2019, arXiv:1912.04958, appendix B): which ones
are due is static, so that the other steps do not compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.augment.diffaugment import PARTS, diffaugment
from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.core.errors import UserError
from gan_jax.methods.gan.buffers import lecam_averages
from gan_jax.methods.gan.classes import class_term
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives import gradient_penalty as penalties
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import normalized_temperature_cross_entropy
from gan_jax.objectives.logits import consistency, drift, lecam
from gan_jax.objectives.weights import historical, orthogonal
from gan_jax.parallel.axes import axis_mean

# Of DISC_TERMS, those that take the gradient of a logit in its own image.
GRADIENT_TERMS = (
    "gradient_penalty",
    "zero_centred_penalty",
    "one_sided_penalty",
    "dragan",
    "r1",
    "r2",
)


class Seen(NamedTuple):
    """What a term may use, for a microbatch.

    Attributes:
      judge: images -> Outputs, one more pass of the discriminator in training that moves nothing,
        given the classes of the real images.
      judge_fake: the same, given the classes of the generated ones.
      real, fake: images [B, H, W, C], augmented if the discriminator's are.
      said_of_real, said_of_fake: Outputs of the pass over them. In the generator's update
        `said_of_real` is None: a term that needs it judges `real`.
      given: what the real images are given, () or (labels,).
      drawn: the generator's arguments, (latents,) or (latents, labels).
      generate: such arguments -> images, one more pass that moves nothing.
      params: of the network that is being updated.
      buffers: of the state, and "updates": of the discriminator so far.
      keys: typed PRNG keys [B], of this term only.
      labelled: (images, labels) of examples with a label, in semi-supervised learning; augmented
        likewise.
    """

    judge: Callable[[jax.Array], Outputs]
    judge_fake: Callable[[jax.Array], Outputs]
    real: jax.Array
    fake: jax.Array
    said_of_real: Outputs | None
    said_of_fake: Outputs
    given: tuple
    drawn: Any
    generate: Callable[..., jax.Array] | None
    params: Any
    buffers: Mapping[str, Any]
    keys: jax.Array | None
    labelled: Any = None


Function = Callable[[Seen], jax.Array]


class Term(NamedTuple):
    """A term of one player.

    Attributes:
      weight: of its mean.
      every: steps from one time that it is taken to the next.
      value: the function; one value an example, or a scalar.
    """

    weight: float
    every: int
    value: Function


def disc_terms(config: ConfigDict) -> dict[str, Function]:
    """Return the discriminator's terms by name; each docstring of a function called has its paper.

    Args:
      config: the whole config.
    """
    terms = config.terms

    def critic(judge: Callable[[jax.Array], Outputs]) -> Callable[[jax.Array], jax.Array]:
        return lambda images: judge(images).logits

    def penalty(target: Callable[[jax.Array], jax.Array]) -> Function:
        return lambda seen: penalties.gradient_penalty(
            critic=critic(seen.judge),
            real=seen.real,
            fake=seen.fake,
            keys=seen.keys,
            target=target,
        )

    def real_changed(seen: Seen) -> jax.Array:
        again = seen.judge(shifted(seen.real, seen.keys, flip=terms.flip))
        return consistency(logits=seen.said_of_real.logits, changed=again.logits)

    def fake_changed(seen: Seen) -> jax.Array:
        again = seen.judge_fake(shifted(seen.fake, seen.keys, flip=terms.flip))
        return consistency(logits=seen.said_of_fake.logits, changed=again.logits)

    def latent_consistency(seen: Seen) -> jax.Array:
        near = seen.generate(*stepped(seen, terms.latent_step))
        logits = seen.judge_fake(near).logits
        return consistency(logits=seen.said_of_fake.logits, changed=logits)

    return {
        "gradient_penalty": penalty(penalties.one_centred),
        "zero_centred_penalty": penalty(penalties.zero_centred),
        "one_sided_penalty": penalty(penalties.one_sided),
        "dragan": lambda seen: penalties.dragan(
            critic=critic(seen.judge), real=seen.real, keys=seen.keys
        ),
        "r1": lambda seen: penalties.r1(critic=critic(seen.judge), images=seen.real),
        "r2": lambda seen: penalties.r1(critic=critic(seen.judge_fake), images=seen.fake),
        "consistency": real_changed,
        "fake_consistency": fake_changed,
        "latent_consistency": latent_consistency,
        "lecam": lambda seen: lecam(
            real_logits=seen.said_of_real.logits,
            fake_logits=seen.said_of_fake.logits,
            averages=lecam_averages(
                seen.buffers, seen.said_of_real.logits, seen.said_of_fake.logits
            ),
        ),
        "drift": lambda seen: drift(logits=seen.said_of_real.logits),
        "orthogonal": lambda seen: orthogonal(params=seen.params),
        "historical": lambda seen: historical(
            params=seen.params, average=seen.buffers["history_disc"]
        ),
        "classes": class_term(config, real=True),
        "rotation": lambda seen: rotation(seen.judge, seen.real, seen.keys),
        "codes": lambda seen: codes(seen, config),
        "labelled": labelled,
        "views": lambda seen: views(seen, terms.temperature),
    }


def gen_terms(config: ConfigDict) -> dict[str, Function]:
    """Return the generator's terms by name, as `disc_terms`."""

    def latent_diversity(seen: Seen) -> jax.Array:
        """The generator's half of zCR (arXiv:2002.04724, algorithm 2): near latents look apart.

        A mean over the pixels, as StudioGAN has it, with weight 0.5; the algorithm has a squared
        norm, H W C times as much.
        """
        near = seen.generate(*stepped(seen, config.terms.latent_step))
        return -jnp.square(seen.generate(*seen.drawn) - near).mean((1, 2, 3))

    return {
        "latent_diversity": latent_diversity,
        "orthogonal": lambda seen: orthogonal(params=seen.params),
        "historical": lambda seen: historical(
            params=seen.params, average=seen.buffers["history_gen"]
        ),
        "feature_matching": feature_matching,
        "classes": class_term(config, real=False),
        "rotation": lambda seen: rotation(seen.judge_fake, seen.fake, seen.keys),
        "codes": lambda seen: codes(seen, config),
    }


def make_terms(section: ConfigDict, functions: Mapping[str, Function]) -> dict[str, Term]:
    """Return the terms whose weight is not 0.

    Args:
      section: `config.terms.disc` or `config.terms.gen`: a weight and an interval by name.
      functions: of all terms of that player.

    Raises:
      UserError: a negative weight, or an interval below 1.
    """
    found = {}
    for name, function in functions.items():
        weight, every = section[name].weight, section[name].every
        if weight < 0:
            raise UserError(f"terms.*.{name}.weight={weight}: at least 0, which is none")
        if every < 1:
            raise UserError(f"terms.*.{name}.every={every}: at least 1, which is every step")
        if weight:
            found[name] = Term(weight, every, function)
    return found


def due_names(player: str, terms: Mapping[str, Term], step: int) -> tuple[str, ...]:
    """Return "PLAYER/NAME" of the lazy terms that are taken at this step, the last of `every`."""
    return tuple(
        f"{player}/{name}"
        for name, term in terms.items()
        if term.every > 1 and step % term.every == term.every - 1
    )


def taken(player: str, terms: Mapping[str, Term], due: tuple[str, ...]) -> dict[str, Term]:
    """Return the terms of a step, the weights of lazy ones scaled up; `due` as of `due_names`."""
    return {
        name: term._replace(weight=term.weight * term.every)
        for name, term in terms.items()
        if term.every == 1 or f"{player}/{name}" in due
    }


def add_terms(
    player: str,
    loss: jax.Array,
    terms: Mapping[str, Term],
    seen: Seen,
    keys: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return a loss with its terms, and metrics "PLAYER/NAME", the terms' means without weight."""
    metrics = {}
    for name, term in terms.items():
        value = term.value(seen._replace(keys=keys[name])).mean()
        metrics[f"{player}/{name}"] = value
        loss = loss + term.weight * value
    return loss, metrics


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


def stepped(seen: Seen, std: float) -> Any:
    """Return the generator's arguments with a normal step of the latents."""
    latents, *labels = seen.drawn
    noise = jax.vmap(lambda key: jax.random.normal(key, latents.shape[1:]))(seen.keys)
    return (latents + std * noise, *labels)


def feature_matching(seen: Seen) -> jax.Array:
    """Return |E f(x) - E f(G(z))|^2 (Salimans et al. 2016, arXiv:1606.03498, section 3.1).

    f is what the discriminator's last layer sees (the authors' code for MNIST: the layer before);
    the means are over the batch, on all devices.
    """
    real, fake = (
        axis_mean(said.features.mean(0)) for said in (seen.judge(seen.real), seen.said_of_fake)
    )
    return jnp.square(real - fake).sum()


def rotation(
    judge: Callable[[jax.Array], Outputs], images: jax.Array, keys: jax.Array
) -> jax.Array:
    """Return the cross entropy of guessing how images were turned (SSGAN, arXiv:1811.11212).

    Each image is turned once, by 0, 90, 180 or 270 degrees drawn from its key. (The authors turn a
    quarter of the batch all four ways.)
    """
    turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)
    every = jnp.stack([jnp.rot90(images, k, (1, 2)) for k in range(4)])
    turned = jax.vmap(lambda four, k: four[k], (1, 0))(every, turns)
    return cross_entropy(logits=judge(turned).heads["rotation"], labels=turns)


def codes(seen: Seen, config: ConfigDict) -> jax.Array:
    """Return -log Q(c | G(z, c)), the negative bound of InfoGAN (arXiv:1606.03657).

    The codes are the last dimensions of the latents: one-hot categorical ones, then continuous
    ones, whose Q is a normal of variance 1, without its constant.
    """
    said, latents = seen.said_of_fake.heads["codes"], seen.drawn[0]
    given, total, start = latents[:, config.model.latent :], jnp.zeros(len(latents)), 0
    for size in config.model.categorical_codes:
        part = slice(start, start + size)
        labels = given[:, part].argmax(-1)
        total = total + cross_entropy(logits=said[:, part], labels=labels)
        start += size
    return total + jnp.square(given[:, start:] - said[:, start:]).sum(-1) / 2


def labelled(seen: Seen) -> jax.Array:
    """Return the cross entropy of the class, given real (arXiv:1606.03498, section 5).

    -log p(y | x, y < K + 1), of images with a label.
    """
    images, labels = seen.labelled
    return cross_entropy(logits=seen.judge(images).heads["class"], labels=labels)


def views(seen: Seen, temperature: float) -> jax.Array:
    """Return SimCLR's loss of two DiffAugment views of each real image (arXiv:2002.05709)."""
    both = jnp.moveaxis(jax.vmap(jax.random.split)(seen.keys), 1, 0)
    first, second = (
        seen.judge(diffaugment(seen.real, keys, tuple(PARTS))).heads["view"] for keys in both
    )
    return normalized_temperature_cross_entropy(first=first, second=second, temperature=temperature)
