"""The table of sources, configs/sources.json, has every number of every config, as it is."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from conftest import NAMES, ROOT

from configs.zoo_common import page, read_table
from gan_jax.core.config import flatten
from gan_jax.core.config_files import run_config
from gan_jax.methods.configs import load_config

TABLE = read_table()
SECTIONS = ("model", "optim", "terms", "task", "augment")
# Set by every config or GAN: the method's family, and that there is nothing of a kind.
WITHOUT_A_ROW = {
    "task.name": None,
    "augment.name": "none",
    "model.codes.name": "none",
    "model.conditional.name": "none",
}


@functools.cache
def built(name: str, preset: str) -> dict[str, Any]:
    """Return the fields of a config, completed, as JSON has them."""
    fields = flatten(load_config(f"{ROOT}/configs/{name}.py:{preset}"))
    return json.loads(json.dumps(fields))


def explicit(name: str) -> dict[str, Any]:
    """Return the fields that a config's file sets, without the defaults."""
    return flatten(run_config(ROOT / "configs" / f"{name}.py", ""))


def needs_row(field: str, value: Any) -> bool:
    if field.partition(".")[0] not in SECTIONS:
        return False
    return field not in WITHOUT_A_ROW or WITHOUT_A_ROW[field] not in (None, value)


def test_every_config_has_an_entry() -> None:
    assert sorted(TABLE) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_of_the_default_preset_and_has_the_learning_rates(name: str) -> None:
    entry = TABLE[name]
    assert set(entry) == {"preset", "paper", "code", "rows"} and entry["paper"]
    assert built(name, entry["preset"]) == built(name, "")
    named = [row["field"] for row in entry["rows"] if "preset" not in row]
    rates = {field for field in explicit(name) if field.endswith(".lr")}
    assert rates and rates <= set(named)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_config(name: str) -> None:
    for row in TABLE[name]["rows"]:
        value = built(name, row.get("preset", TABLE[name]["preset"]))[row["field"]]
        expected = pytest.approx(row["value"]) if isinstance(value, float) else row["value"]
        assert value == expected, row


@pytest.mark.parametrize("name", NAMES)
def test_rows_differ_from_what_is_published_exactly_where_they_say_why(name: str) -> None:
    rows = TABLE[name]["rows"]
    assert len({(row["field"], row.get("preset")) for row in rows}) == len(rows)
    for row in rows:
        assert set(row) - {"preset"} == {"field", "value", "published", "source", "why"}
        assert (row["value"] == row["published"]) == (row["why"] == ""), row
        assert (row["published"] is None) == (row["source"] == ""), row


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_sets_has_a_row(name: str) -> None:
    rows = {row["field"] for row in TABLE[name]["rows"] if "preset" not in row}
    missing = [f for f, value in explicit(name).items() if needs_row(f, value) and f not in rows]
    assert missing == []


def test_the_page_is_that_of_the_table() -> None:
    written = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    assert written == page(TABLE), "run python -m configs.zoo_common"
