"""Terms of a GAN's discriminator and generator, by name (`config.terms.disc`, `config.terms.gen`).

Entries of `seen` in an update of the discriminator (`DISC_SEEN`) and of the generator (`GEN_SEEN`):

  judge: images -> Outputs, another training pass of the discriminator with the labels of the real
    images; it updates no statistics.
  judge_fake: the same, with the labels of the generated images.
  generate: the generator's arguments -> images, another training pass that updates no statistics.
  real, fake: images [B, H, W, C], augmented if the discriminator's inputs are.
  real_out, fake_out: Outputs of the discriminator on these images. `real_out` is missing in the
    generator's update: a term that needs it calls `judge` on `real`.
  given: conditioning of the real images, () or (labels,).
  drawn: the generator's arguments, (latents,) or (latents, labels).
  labelled: (images, labels) of the labelled examples in semi-supervised learning, augmented like
    the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.augment.diffaugment import PARTS, diffaugment
from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.methods.gan import class_terms
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.terms import Kind, plain, terms_of
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives import gradient_penalty as penalties
from gan_jax.objectives import logits
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import normalized_temperature_cross_entropy
from gan_jax.objectives.path_length import path_lengths, updated_length
from gan_jax.parallel.axes import axis_mean

GEN_SEEN = ("judge", "judge_fake", "generate", "real", "fake", "fake_out", "given", "drawn")
DISC_SEEN = (*GEN_SEEN, "real_out", "labelled")
# Terms of the discriminator that take the gradient of each logit in its own image.
GRADIENT_TERMS = (
    "gradient_penalty",
    "zero_centred_penalty",
    "one_sided_penalty",
    "dragan",
    "r1",
    "r2",
)
LECAM_DECAY = 0.99  # of the moving averages of logits, arXiv:2104.03310, section 4.1
Seen = Mapping[str, Any]


def critic(judge: Callable[[jax.Array], Outputs]) -> Callable[[jax.Array], jax.Array]:
    """Return a function from images to logits."""
    return lambda images: judge(images).logits


def _penalty(target: Callable[[jax.Array], jax.Array]) -> Kind:
    """Return a penalty between real and generated images, see `penalties.gradient_penalty`."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        given = dict(real=seen["real"], fake=seen["fake"], keys=keys, target=target)
        return penalties.gradient_penalty(critic=critic(seen["judge"]), **given)

    return plain(value, ("judge", "real", "fake"))


def gradient_penalty() -> Kind:
    """Return WGAN-GP's gradient penalty, which is one-centred."""
    return _penalty(penalties.one_centred)


def zero_centred_penalty() -> Kind:
    """Return the gradient penalty with target norm 0."""
    return _penalty(penalties.zero_centred)


def one_sided_penalty() -> Kind:
    """Return the gradient penalty on norms above 1 only."""
    return _penalty(penalties.one_sided)


def dragan() -> Kind:
    """Return DRAGAN's penalty, around real images."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        return penalties.dragan(critic=critic(seen["judge"]), real=seen["real"], keys=keys)

    return plain(value, ("judge", "real"))


def r1() -> Kind:
    """Return the R1 penalty, on real images; its weight is the paper's gamma."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        return penalties.r1(critic=critic(seen["judge"]), images=seen["real"])

    return plain(value, ("judge", "real"))


def r2() -> Kind:
    """Return the R2 penalty, on generated images; its weight is the paper's gamma."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        return penalties.r1(critic=critic(seen["judge_fake"]), images=seen["fake"])

    return plain(value, ("judge_fake", "fake"))


def drift() -> Kind:
    """Return ProGAN's penalty on the logits of real images."""
    return plain(lambda seen, _: logits.drift(logits=seen["real_out"].logits), ("real_out",))


def consistency(*, flip: bool = True) -> Kind:
    """Return CR: real images and their `shifted` versions should have the same logit.

    Args:
      flip: whether to mirror images; False where left and right differ, as in digits.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        again = seen["judge"](shifted(seen["real"], keys, flip=flip))
        return logits.consistency(logits=seen["real_out"].logits, changed=again.logits)

    return plain(value, ("judge", "real", "real_out"))


def fake_consistency(*, flip: bool = True) -> Kind:
    """Return bCR's term on generated images; `flip` as in `consistency`."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        again = seen["judge_fake"](shifted(seen["fake"], keys, flip=flip))
        return logits.consistency(logits=seen["fake_out"].logits, changed=again.logits)

    return plain(value, ("judge_fake", "fake", "fake_out"))


def latent_consistency(*, std: float = 0.05) -> Kind:
    """Return zCR's discriminator term; `std` is the standard deviation of the latent step."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        near = seen["generate"](*stepped(seen["drawn"], keys, std))
        changed = seen["judge_fake"](near).logits
        return logits.consistency(logits=seen["fake_out"].logits, changed=changed)

    return plain(value, ("generate", "drawn", "judge_fake", "fake_out"))


def latent_diversity(*, std: float = 0.05) -> Kind:
    """Return zCR's generator term (arXiv:2002.04724, algorithm 2): close latents, distinct images.

    The negative squared difference, averaged over pixels and channels as in StudioGAN (weight 0.5);
    the paper's algorithm has the squared norm, which is H W C times larger.

    Args:
      std: standard deviation of the latent step.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        near = seen["generate"](*stepped(seen["drawn"], keys, std))
        return -jnp.square(seen["generate"](*seen["drawn"]) - near).mean((1, 2, 3))

    return plain(value, ("generate", "drawn"))


def lecam() -> Kind:
    """Return LeCam's term; its buffer holds moving averages of logits and the number of updates.

    The averages it compares with include the current batch (with microbatches: the microbatch).
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
        averages = logits.updated_averages(buffer["averages"], statistics, LECAM_DECAY)
        return {"averages": averages, "updates": buffer["updates"] + 1}

    return Kind(value, ("real_out", "fake_out"), init, following)


def path_length() -> Kind:
    """Return path length regularisation, see `objectives.path_length`.

    Its buffer is the target length, a moving average of past lengths; the target includes the
    current batch (with microbatches: the microbatch). The class is held fixed, and the gradient is
    taken in the generator's input latents, as there is no mapping network here.
    """

    def value(nets: Any, seen: Seen, keys: jax.Array, buffer: Any) -> Any:
        latents, *labels = seen["drawn"]
        lengths = path_lengths(lambda z: seen["generate"](z, *labels), latents, keys)
        mean = lengths.mean()
        target = updated_length(buffer, jax.lax.stop_gradient(axis_mean(mean)))
        return jnp.square(lengths - target), {"length": mean}

    return Kind(
        value,
        ("generate", "drawn"),
        lambda params: jnp.zeros(()),
        lambda buffer, statistics, net, step: updated_length(buffer, statistics["length"]),
    )


def _rotation(judge: str, images: str) -> Kind:
    """Return the cross entropy of predicting an image's rotation (SSGAN, arXiv:1811.11212).

    Each image is rotated once, by 0, 90, 180 or 270 degrees drawn from its key. (The authors rotate
    a quarter of the batch by all four angles.)

    Args:
      judge: entry of `seen` with the discriminator's pass, "judge" or "judge_fake".
      images: entry of `seen` with the images, "real" or "fake".
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)
        every = jnp.stack([jnp.rot90(seen[images], k, (1, 2)) for k in range(4)])
        turned = jax.vmap(lambda four, k: four[k], (1, 0))(every, turns)
        return cross_entropy(logits=seen[judge](turned).heads["rotation"], labels=turns)

    return plain(value, (judge, images))


def disc_rotation() -> Kind:
    """Return the rotation loss on real images, see `_rotation`."""
    return _rotation("judge", "real")


def gen_rotation() -> Kind:
    """Return the rotation loss on generated images, see `_rotation`."""
    return _rotation("judge_fake", "fake")


def codes(*, latent: int, codes: Codes) -> Kind:
    """Return -log Q(c | G(z, c)), InfoGAN's negative mutual-information bound (arXiv:1606.03657).

    The codes are the last dimensions of the latents: one-hot categorical codes, then continuous
    ones, for which Q is a normal of variance 1; its constant is left out.

    Args:
      latent: dimensions of the latents in front of the codes.
      codes: InfoGAN's codes.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        guessed, latents = seen["fake_out"].heads["codes"], seen["drawn"][0]
        given, total, start = latents[:, latent:], jnp.zeros(len(latents)), 0
        for size in codes.categorical:
            part = slice(start, start + size)
            labels = given[:, part].argmax(-1)
            total = total + cross_entropy(logits=guessed[:, part], labels=labels)
            start += size
        return total + jnp.square(given[:, start:] - guessed[:, start:]).sum(-1) / 2

    return plain(value, ("fake_out", "drawn"))


def views(*, temperature: float = 1.0) -> Kind:
    """Return SimCLR's loss between two DiffAugment views of each real image (arXiv:2002.05709).

    Args:
      temperature: divides the cosine similarities.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        both = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        first, second = (
            seen["judge"](diffaugment(seen["real"], half, tuple(PARTS))).heads["view"]
            for half in both
        )
        given = dict(first=first, second=second, temperature=temperature)
        return normalized_temperature_cross_entropy(**given)

    return plain(value, ("judge", "real"))


def labelled() -> Kind:
    """Return -log p(y | x, y < K + 1) of labelled images (arXiv:1606.03498, section 5).

    The cross entropy of the class, given that the image is real.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        images, labels = seen["labelled"]
        return cross_entropy(logits=seen["judge"](images).heads["class"], labels=labels)

    return plain(value, ("judge", "labelled"))


def feature_matching() -> Kind:
    """Return |E f(x) - E f(G(z))|^2 (Salimans et al. 2016, arXiv:1606.03498, section 3.1).

    f is the input of the discriminator's last layer (the authors' code for MNIST: of the layer
    before); the means are over the batch, on all devices.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        both = (seen["judge"](seen["real"]), seen["fake_out"])
        real, fake = (axis_mean(out.features.mean(0)) for out in both)
        return jnp.square(real - fake).sum()

    return plain(value, ("judge", "real", "fake_out"))


def shifted(images: jax.Array, keys: jax.Array, *, flip: bool) -> jax.Array:
    """Mirror half of the images, and shift all by up to an eighth of the side, reflecting at edges.

    Up to 4 px at 32 px, as in CR (arXiv:1910.12027) and in StudioGAN.

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
    """Return the generator's arguments with normal noise (deviation std) added to the latents."""
    latents, *labels = drawn
    noise = jax.vmap(lambda key: jax.random.normal(key, latents.shape[1:]))(keys)
    return (latents + std * noise, *labels)


GIVEN = ("latent", "codes")
DISC_TERMS = terms_of(
    {
        "gradient_penalty": gradient_penalty,  # this and the next five refuse BatchNorm
        "zero_centred_penalty": zero_centred_penalty,
        "one_sided_penalty": one_sided_penalty,
        "dragan": dragan,
        "r1": r1,
        "r2": r2,
        "consistency": consistency,  # CR; with the next one bCR
        "fake_consistency": fake_consistency,
        "latent_consistency": latent_consistency,  # zCR, with the generator's latent_diversity
        "lecam": lecam,
        "drift": drift,
        "classifier": class_terms.disc_classifier,  # these three: see CLASS_TERMS
        "contrastive": class_terms.disc_contrastive,
        "d2d_ce": class_terms.disc_d2d_ce,
        "rotation": disc_rotation,  # self-supervised
        "codes": codes,  # InfoGAN
        "labelled": labelled,  # with model.conditional=semi_supervised
        "views": views,  # unsupervised contrastive
    },
    GIVEN,
)
GEN_TERMS = terms_of(
    {
        "latent_diversity": latent_diversity,
        "path_length": path_length,  # StyleGAN2's; its authors: every 4 steps, weight 2
        "feature_matching": feature_matching,
        "classifier": class_terms.gen_classifier,
        "contrastive": class_terms.gen_contrastive,
        "d2d_ce": class_terms.gen_d2d_ce,
        "rotation": gen_rotation,
        "codes": codes,
    },
    GIVEN,
)
