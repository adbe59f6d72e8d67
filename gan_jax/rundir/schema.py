"""The schema number of a run's config.json, and migrations of older configs.

If you change config fields so that the config.json of existing runs changes its meaning: increase
`SCHEMA` by one, add a migration from the previous schema to `MIGRATIONS`, and add a run with the
old schema to `tests/rundir/schemas/`, which a test samples, evaluates and resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.core.errors import UserError
from gan_jax.core.outside import is_outside

SCHEMA = 2


def _two_networks(config: dict[str, Any]) -> dict[str, Any]:
    """Split the single VAE network of a schema 1 config into encoder and decoder.

    Both get its network, optimizer and terms. One difference remains: in schema 1 gradient clipping
    used the norm over both together.
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


def _schema_1_to_2(config: dict[str, Any]) -> dict[str, Any]:
    """Migrate a config of schema 1: two VAE networks, and unpaired data."""
    config = _two_networks(config)
    data = {"halves": "", "unpaired": False, "eval_pairs": False, **config["data"]}
    return {**config, "data": data}


# Schema number -> function from its config, as plain dicts, to one of the next schema.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _schema_1_to_2}


def migrated(workdir: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Migrate the content of a config.json to the current schema, and drop its schema number.

    Args:
      workdir: the run's directory, for error messages.
      record: the content of the file.

    Raises:
      UserError: the schema number is missing or newer than this version.
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
