"""The schema of a run's config.json: an integer that counts the changes of what fields there are.

Whoever changes a field of a config, so that a run's config.json no longer means the same, raises
`SCHEMA` by one, adds to `MIGRATIONS` how a config of the schema before is made one of the new, and
keeps a run of the old one in `tests/runs/schemas/`, which a test samples, evaluates and resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.core.errors import UserError
from gan_jax.core.outside import is_outside

SCHEMA = 2


def _two_networks(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of schema 1 with a VAE's encoder and decoder as two networks.

    Both have what the one had: network, optimizer and terms. A norm of its gradient that was
    clipped was that of both.
    """
    if config["task"]["name"] != "vae":
        return config
    if is_outside(config["model"]["vae"]["name"]):
        raise UserError(
            f"model.vae={config['model']['vae']['name']} is one network of one's own, and a VAE has"
            " two since, model.encoder and model.decoder: train it anew"
        )

    def parted(section: dict[str, Any]) -> dict[str, Any]:
        rest = {name: x for name, x in section.items() if name != "vae"}
        return {**rest, "encoder": section["vae"], "decoder": section["vae"]}

    config = {**config, **{name: parted(config[name]) for name in ("model", "optim", "terms")}}
    if config["model"]["encoder"]["name"] == "conv":
        config["model"]["encoder"] = {**config["model"]["encoder"], "norm": "none"}
    return config


def _second(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of schema 1 with what data of two domains brought."""
    config = _two_networks(config)
    data = {"halves": "", "unpaired": False, "eval_pairs": False, **config["data"]}
    return {**config, "data": data}


# schema: from a config of it, as plain dicts, to one of the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _second}


def migrated(workdir: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return what config.json holds as a config of today, without its schema number.

    Args:
      workdir: of the run, for messages.
      record: what the file holds.

    Raises:
      UserError: a run of a newer version, or of none.
    """
    config = dict(record)
    schema = config.pop("schema", None)
    if not isinstance(schema, int) or schema < 1:
        raise UserError(
            f"{workdir}: its config.json has no schema number: it is of a version before the first"
            " that was released: train it anew"
        )
    if schema > SCHEMA:
        raise UserError(
            f"{workdir} is of a newer version of gan_jax (schema {schema}, here {SCHEMA}): install"
            " that one"
        )
    for number in range(schema, SCHEMA):
        config = MIGRATIONS[number](config)
    return config
