"""Augmentation of the discriminator's inputs: the section `augment`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from gan_jax.augment import ada, diffaugment, distortion
from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.task import Key, Metrics
from gan_jax.objectives.adversarial import Game
from gan_jax.parallel.axes import axis_mean, example_keys

PARTS = {
    "diffaugment": tuple(diffaugment.PARTS),
    "ada": ada.PARTS,
    "distortion": distortion.PARTS,
}
Images = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class Augment:
    """A random augmentation of real and generated images, drawn independently for each image.

    Terms and penalties use the augmented images: gradients are taken at the discriminator's actual
    inputs. (The authors of ADA differentiate R1 through the augmentation.)

    Attributes:
      name: a key of `AUGMENTATIONS`.
      change: (images, keys [B], buffers of the state) -> augmented images.
      init: () -> the augmentation's initial buffers.
      adapt: (buffers, metrics of the discriminator's update, step, batch size) -> (the buffers
        after the step, metrics of the augmentation); None for an augmentation without buffers.
    """

    name: str
    change: Callable[[jax.Array, jax.Array, Mapping[str, Any]], jax.Array]
    init: Callable[[], Mapping[str, Any]] = dict
    adapt: Callable[..., tuple[Mapping[str, Any], Metrics]] | None = None

    @property
    def draws(self) -> bool:
        """Whether the augmentation is random and needs keys."""
        return self.name != "none"

    def keys(self, key: Key | None, batch: int, sides: int = 2) -> Any:
        """Return the keys of one call, [batch, sides]; see `__call__` for the sides."""
        if not self.draws:
            return ()
        split = functools.partial(jax.random.split, num=sides)
        return jax.vmap(split)(example_keys(key, batch))

    def __call__(self, sides: Images, keys: Any, buffers: Mapping[str, Any]) -> Images:
        """Augment each of several batches [B, H, W, C].

        Args:
          sides: real images, generated images and, in semi-supervised learning, labelled images.
          keys: as returned by `keys`, for the same number of sides.
          buffers: of the state.
        """
        if not self.draws:
            return sides
        return tuple(self.change(x, keys[:, i], buffers) for i, x in enumerate(sides))


def no_augmentation() -> Augment:
    """Return the augmentation that changes nothing."""
    return Augment("none", lambda images, keys, buffers: images)


def by_diffaugment(*, parts: str = "") -> Augment:
    """Return DiffAugment; `parts` is a selection of color,translation,cutout, or "" for all."""
    chosen = _parts("diffaugment", parts)
    change = lambda images, keys, _: diffaugment.diffaugment(images, keys, chosen)  # noqa: E731
    return Augment("diffaugment", change)


def by_distortion(*, parts: str = "") -> Augment:
    """Return affine distortions and noise; `parts` is affine, noise, or "" for both."""
    chosen = _parts("distortion", parts)
    change = lambda images, keys, _: distortion.distortion(images, keys, chosen)  # noqa: E731
    return Augment("distortion", change)


def by_ada(*, game: Game, parts: str = "", ramp_images: float = 500_000.0) -> Augment:
    """Return ADA.

    Args:
      game: the adversarial loss; ADA's p adapts to the sign of its logits.
      parts: geometry, color, or "" for both.
      ramp_images: number of real images in which p can rise from 0 to 1.

    Raises:
      UserError: a game whose logits have no boundary.
    """
    chosen = _parts("ada", parts)
    if ramp_images <= 0:
        raise UserError(f"augment.ramp_images={ramp_images}: above 0")
    if game.boundary is None:
        raise UserError(
            "augment.name=ada adapts to the share of real images that are judged real, and the"
            " logits of this task.loss have no boundary between real and generated: set another"
            " task.loss, such as non_saturating, or augment.name=diffaugment"
        )

    def change(images: jax.Array, keys: jax.Array, buffers: Mapping[str, Any]) -> jax.Array:
        return ada.ada(images, keys, buffers["ada"]["p"], chosen)

    def init() -> Mapping[str, Any]:
        return {"ada": ada.initial()}

    def adapt(
        buffers: Mapping[str, Any], metrics: Metrics, step: jax.Array, batch_size: int
    ) -> tuple[Mapping[str, Any], Metrics]:
        # E[sign(D - boundary)] of the last update, see `ada`.
        sign = axis_mean(2 * metrics["accuracy/real"] - 1)
        rise = dict(batch_size=batch_size, ramp_images=ramp_images)
        state = ada.adapted(buffers["ada"], sign, step, **rise)
        return {"ada": state}, {"augment/p": state["p"]}

    return Augment("ada", change, init, adapt)


AUGMENTATIONS = Choice(
    {
        "none": no_augmentation,
        "diffaugment": by_diffaugment,
        "ada": by_ada,
        "distortion": by_distortion,
    },
    ("game",),
    "none",
    Augment,
)


def _parts(name: str, parts: str) -> tuple[str, ...]:
    chosen = tuple(parts.split(",")) if parts else PARTS[name]
    for part in chosen:
        check_choice(f"augment.parts of {name}", part, PARTS[name])
    return chosen
