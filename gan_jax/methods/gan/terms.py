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

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.augment.diffaugment import PARTS, diffaugment
from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.methods.gan import classes
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.terms import Kind, plain, terms_of
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives import gradient_penalty as penalties
from gan_jax.objectives import logits
from gan_jax.objectives.classification import cross_entropy
from gan_jax.objectives.contrastive import normalized_temperature_cross_entropy
from gan_jax.objectives.path_length import moved_length, path_lengths
from gan_jax.parallel.axes import axis_mean

GEN_SEEN = ("judge", "judge_fake", "generate", "real", "fake", "fake_out", "given", "drawn")
DISC_SEEN = (*GEN_SEEN, "real_out", "labelled")
# Of what the head of that model.conditional says.
CLASS_TERMS = ("classifier", "contrastive", "d2d_ce")
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
    """Return WGAN-GP's penalty, one-centred."""
    return _penalty(penalties.one_centred)


def zero_centred_penalty() -> Kind:
    """Return the penalty that draws the slope to 0."""
    return _penalty(penalties.zero_centred)


def one_sided_penalty() -> Kind:
    """Return the penalty on a slope above 1 only."""
    return _penalty(penalties.one_sided)


def dragan() -> Kind:
    """Return DRAGAN's penalty, around real images."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        return penalties.dragan(critic=critic(seen["judge"]), real=seen["real"], keys=keys)

    return plain(value, ("judge", "real"))


def r1() -> Kind:
    """Return the penalty on real images; the weight is the paper's gamma."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        return penalties.r1(critic=critic(seen["judge"]), images=seen["real"])

    return plain(value, ("judge", "real"))


def r2() -> Kind:
    """Return the penalty on generated images; the weight is the paper's gamma."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        return penalties.r1(critic=critic(seen["judge_fake"]), images=seen["fake"])

    return plain(value, ("judge_fake", "fake"))


def drift() -> Kind:
    """Return ProGAN's penalty on the logits of real images."""
    return plain(lambda seen, _: logits.drift(logits=seen["real_out"].logits), ("real_out",))


def consistency(*, flip: bool = True) -> Kind:
    """Return CR: real images are judged as `shifted` ones are.

    Args:
      flip: whether these are mirrored; not where left and right differ, as in digits.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        again = seen["judge"](shifted(seen["real"], keys, flip=flip))
        return logits.consistency(logits=seen["real_out"].logits, changed=again.logits)

    return plain(value, ("judge", "real", "real_out"))


def fake_consistency(*, flip: bool = True) -> Kind:
    """Return the generated images' half of bCR; `flip` as of `consistency`."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        again = seen["judge_fake"](shifted(seen["fake"], keys, flip=flip))
        return logits.consistency(logits=seen["fake_out"].logits, changed=again.logits)

    return plain(value, ("judge_fake", "fake", "fake_out"))


def latent_consistency(*, std: float = 0.05) -> Kind:
    """Return the discriminator's half of zCR; `std` is the deviation of the step in the latents."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        near = seen["generate"](*stepped(seen["drawn"], keys, std))
        changed = seen["judge_fake"](near).logits
        return logits.consistency(logits=seen["fake_out"].logits, changed=changed)

    return plain(value, ("generate", "drawn", "judge_fake", "fake_out"))


def latent_diversity(*, std: float = 0.05) -> Kind:
    """Return the generator's half of zCR (arXiv:2002.04724, algorithm 2): near latents look apart.

    A mean over the pixels, as StudioGAN has it, with weight 0.5; the algorithm has a squared norm,
    H W C times as much.

    Args:
      std: deviation of the step in the latents.
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

    Its buffer is the length that paths are drawn to, an average of those so far and of the batch at
    hand, which is a microbatch where there are such. With the class
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


def _of_real(loss: classes.Loss, *, fake: bool = False) -> Kind:
    """Return a discriminator's term of classes: of real images, and of generated ones by `fake`."""

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        on_fake = loss(seen["fake_out"], seen["drawn"][1]) if fake else 0.0
        return loss(seen["real_out"], seen["given"][0]) + on_fake

    return plain(value, ("real_out", "fake_out", "given", "drawn"))


def _of_fake(loss: classes.Loss) -> Kind:
    """Return a generator's term of classes, of its own images."""
    return plain(lambda seen, _: loss(seen["fake_out"], seen["drawn"][1]), ("fake_out", "drawn"))


def disc_classifier() -> Kind:
    """Return an auxiliary classifier's loss, on real and on generated images (arXiv:1610.09585)."""
    return _of_real(classes.classifier(), fake=True)


def gen_classifier() -> Kind:
    """Return an auxiliary classifier's loss, on generated images."""
    return _of_fake(classes.classifier())


def disc_contrastive(*, temperature: float = 1.0) -> Kind:
    """Return ContraGAN's loss on real images (arXiv:2006.12681, algorithm 1)."""
    return _of_real(classes.contrastive(temperature))


def gen_contrastive(*, temperature: float = 1.0) -> Kind:
    """Return ContraGAN's loss on generated images."""
    return _of_fake(classes.contrastive(temperature))


def disc_d2d_ce(
    *,
    temperature: float = 1.0,
    positive_margin: float = 0.98,
    negative_margin: float = 0.02,
    shift_negatives: bool = False,
) -> Kind:
    """Return ReACGAN's loss on real images (arXiv:2111.01118, section 3.3).

    Args:
      temperature: of the cosines.
      positive_margin, negative_margin: cosines.
      shift_negatives: True as in the authors' code, False as in the paper.
    """
    given = (temperature, positive_margin, negative_margin, shift_negatives)
    return _of_real(classes.d2d_ce(*given))


def gen_d2d_ce(
    *,
    temperature: float = 1.0,
    positive_margin: float = 0.98,
    negative_margin: float = 0.02,
    shift_negatives: bool = False,
) -> Kind:
    """Return ReACGAN's loss on generated images; fields as of `disc_d2d_ce`."""
    given = (temperature, positive_margin, negative_margin, shift_negatives)
    return _of_fake(classes.d2d_ce(*given))


def _rotation(judge: str, images: str) -> Kind:
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


def disc_rotation() -> Kind:
    """Return the cross entropy of the turns of real images, see `_rotation`."""
    return _rotation("judge", "real")


def gen_rotation() -> Kind:
    """Return the cross entropy of the turns of generated images, see `_rotation`."""
    return _rotation("judge_fake", "fake")


def codes(*, latent: int, codes: Codes) -> Kind:
    """Return -log Q(c | G(z, c)), the negative bound of InfoGAN (arXiv:1606.03657).

    The codes are the last dimensions of the latents: one-hot categorical ones, then continuous
    ones, whose Q is a normal of variance 1, without its constant.

    Args:
      latent: dimensions before the codes.
      codes: what they are.
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
    """Return SimCLR's loss of two DiffAugment views of each real image (arXiv:2002.05709).

    Args:
      temperature: of the cosines.
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
    """Return the cross entropy of the class, given real (arXiv:1606.03498, section 5).

    -log p(y | x, y < K + 1), of images with a label.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        images, labels = seen["labelled"]
        return cross_entropy(logits=seen["judge"](images).heads["class"], labels=labels)

    return plain(value, ("judge", "labelled"))


def feature_matching() -> Kind:
    """Return |E f(x) - E f(G(z))|^2 (Salimans et al. 2016, arXiv:1606.03498, section 3.1).

    f is what the discriminator's last layer sees (the authors' code for MNIST: the layer before);
    the means are over the batch, on all devices.
    """

    def value(seen: Seen, keys: jax.Array) -> jax.Array:
        both = (seen["judge"](seen["real"]), seen["fake_out"])
        real, fake = (axis_mean(out.features.mean(0)) for out in both)
        return jnp.square(real - fake).sum()

    return plain(value, ("judge", "real", "fake_out"))


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
        "classifier": disc_classifier,  # these three with that model.conditional
        "contrastive": disc_contrastive,
        "d2d_ce": disc_d2d_ce,
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
        "path_length": path_length,  # StyleGAN2's; its authors take it at one step of 4, weight 2
        "feature_matching": feature_matching,
        "classifier": gen_classifier,
        "contrastive": gen_contrastive,
        "d2d_ce": gen_d2d_ce,
        "rotation": gen_rotation,
        "codes": codes,
    },
    GIVEN,
)
