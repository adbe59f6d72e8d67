"""The methods by name: the one list of them, and what builds the one that a config names.

To read the list takes no JAX, so that a mistyped name is said at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec

if TYPE_CHECKING:
    from gan_jax.core.task import Task


class Method(NamedTuple):
    """A family.

    Attributes:
      module: has `make_task(config, spec)`.
      reference: a config of `configs/`, which has all fields of the family, and no other.
    """

    module: str
    reference: str


METHODS = {
    "gan": Method("gan_jax.methods.gan.method", "dcgan"),
    "vae": Method("gan_jax.methods.vae.vae", "vae"),
    "classifier": Method("gan_jax.methods.classifier", "classifier"),
    "paired": Method("gan_jax.methods.translation.paired", "unet"),
}


def check_method(config: ConfigDict) -> None:
    """Raise UserError unless `config.task.name` is a method."""
    check_choice("task.name", config.task.name, METHODS)


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build the method that `config.task.name` names, for data of that spec.

    Raises:
      UserError: for an unknown method, or a combination that makes no sense.
    """
    check_method(config)
    name = config.task.name
    conditional = config.model.get("conditional", "none")
    if "labelled_image" in spec.streams and conditional != "semi_supervised":
        raise UserError(
            f"data.labelled with task.name={name} and model.conditional={conditional}: only"
            " semi_supervised learns from images without a label: set data.unlabelled=false, or"
            " data.labelled=0"
        )
    return importlib.import_module(METHODS[name].module).make_task(config, spec)
