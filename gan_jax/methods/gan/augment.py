"""How what a GAN's discriminator sees is augmented: `config.augment`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from gan_jax.augment import ada, diffaugment, distortion
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.task import Key
from gan_jax.objectives.adversarial import Game
from gan_jax.parallel.axes import example_keys

PARTS = {
    "none": (),
    "diffaugment": tuple(diffaugment.PARTS),
    "ada": ada.PARTS,
    "distortion": distortion.PARTS,
}
Images = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class Augment:
    """A random change of real and generated images, the same kind and each drawn apart.

    Terms and penalties see the changed images: their gradients are those of what the discriminator
    saw. (The authors of ADA take R1's through the augmentation.)

    Attributes:
      name: a key of PARTS.
      change: (images, keys [B], buffers) -> images.
    """

    name: str
    change: Callable[[jax.Array, jax.Array, Mapping[str, Any]], jax.Array]

    @property
    def draws(self) -> bool:
        """Whether it needs keys."""
        return self.name != "none"

    def keys(self, key: Key | None, batch: int, sides: int = 2) -> Any:
        """Return the keys of one call, [batch, sides]."""
        if not self.draws:
            return ()
        split = functools.partial(jax.random.split, num=sides)
        return jax.vmap(split)(example_keys(key, batch))

    def __call__(self, sides: Images, keys: Any, buffers: Mapping[str, Any]) -> Images:
        """Change each of several batches [B, H, W, C], given what `keys` returned.

        Args:
          sides: the real images, the generated ones and, in semi-supervised learning, the labelled.
          keys: of as many sides.
          buffers: of the state.
        """
        if not self.draws:
            return sides
        return tuple(self.change(x, keys[:, i], buffers) for i, x in enumerate(sides))


def make_augment(section: ConfigDict, game: Game) -> Augment:
    """Return the augmentation of `config.augment`.

    Raises:
      UserError: no such augmentation or part, or ADA with a game whose logits have no boundary.
    """
    check_choice("augment.name", section.name, PARTS)
    parts = tuple(section.parts.split(",")) if section.parts else PARTS[section.name]
    for part in parts:
        check_choice(f"augment.parts of {section.name}", part, PARTS[section.name])
    if section.ramp_images <= 0:
        raise UserError(f"augment.ramp_images={section.ramp_images}: above 0")
    if section.name == "ada" and game.boundary is None:
        raise UserError(
            "augment.name=ada follows how many real images are judged real, and the logits of this"
            " task.loss have no boundary: set another task.loss, such as non_saturating, or"
            " augment.name=diffaugment"
        )
    changes = {
        "none": lambda images, keys, buffers: images,
        "diffaugment": lambda images, keys, _: diffaugment.diffaugment(images, keys, parts),
        "distortion": lambda images, keys, _: distortion.distortion(images, keys, parts),
        "ada": lambda images, keys, buffers: ada.ada(images, keys, buffers["ada"]["p"], parts),
    }
    return Augment(section.name, changes[section.name])
