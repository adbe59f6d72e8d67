"""The list of methods by name, and the functions that build the one a config names.

The list is read without importing JAX, so that a mistyped name fails at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from gan_jax.core.choices import Sections
from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.spec import DataSpec

if TYPE_CHECKING:
    from gan_jax.core.task import Task


# name: the module with its `make_task(config, spec)` and `sections(config)`.
METHODS = {
    "gan": "gan_jax.methods.gan.method",
    "vae": "gan_jax.methods.vae.vae",
    "iwae": "gan_jax.methods.vae.iwae",
    "vae_gan": "gan_jax.methods.fusion.vae_gan",
    "classifier": "gan_jax.methods.classifier",
    "paired": "gan_jax.methods.translation.paired",
    "cyclegan": "gan_jax.methods.translation.cyclegan",
    "restorer": "gan_jax.methods.restoration.pixels",
    "inpainting": "gan_jax.methods.restoration.inpainting",
    "colorization": "gan_jax.methods.restoration.colorization",
    "srgan": "gan_jax.methods.restoration.srgan",
}


def check_method(config: ConfigDict) -> None:
    """Raise UserError unless `config.task.name` is a method."""
    check_choice("task.name", config.task.name, METHODS)


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section of a config, by path; this imports the method.

    Args:
      config: needs the `name` of each section, not all of its fields.
    """
    return _module(config).sections(config)


def _module(config: ConfigDict) -> Any:
    check_method(config)
    return importlib.import_module(METHODS[config.task.name])


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build the task of method `config.task.name` for data of that spec.

    Raises:
      UserError: for an unknown method, or an unsupported combination of options.
    """
    module = _module(config)
    conditional = config.get("model", {}).get("conditional", {}).get("name", "none")
    if "labelled_image" in spec.streams and conditional != "semi_supervised":
        raise UserError(
            f"data.labelled with task.name={config.task.name} and model.conditional={conditional}:"
            " only semi_supervised learns from images without a label: set data.unlabelled=false,"
            " or data.labelled=0"
        )
    return module.make_task(config, spec)
