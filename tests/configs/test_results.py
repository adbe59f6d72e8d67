"""The result files of the model zoo, configs/results/NAME.json, and the grid of a GAN's fields."""

from __future__ import annotations

import functools

import pytest
from conftest import NAMES, ROOT

from configs.common import base
from configs.results_common import (
    FAMILIES,
    STUDIES,
    Row,
    config_of,
    count_parameters,
    fill_in_parameters,
    read_results,
    results_page,
)
from configs.zoo_common import read_grid
from gan_jax.core.choices import Choice
from gan_jax.core.config import flatten
from gan_jax.core.metric_names import MetricName
from gan_jax.methods.configs import load_config
from gan_jax.methods.gan.method import SECTIONS
from gan_jax.objectives.adversarial import GAMES

RESULTS = read_results()
loaded = functools.cache(load_config)
ROWS = [(name, row) for name, rows in RESULTS.items() for row in rows]
KEYS = (
    *("argument", "what", "command", "evaluated", "seeds", "steps", "parameters", "metrics"),
    *("minutes", "machine", "date", "versions", "short", "picture", "note"),
)


def ident(pair: tuple[str, Row]) -> str:
    return f"{pair[0]}-{pair[1]['what']}"


def test_files_are_of_configs_and_configs_of_one_family() -> None:
    assert set(RESULTS) <= set(NAMES)
    listed = [name for _, names in FAMILIES.values() for name in names]
    assert len(set(listed)) == len(listed) and set(NAMES) <= set(listed)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=map(ident, ROWS))
def test_a_row_is_whole(name: str, row: Row) -> None:
    assert set(row) - {"family", "study", "reference", "classes", "plan"} == set(KEYS)
    assert row["what"] and isinstance(row["short"], bool)
    assert row.get("family", "gan") in FAMILIES and row.get("study", "precision") in STUDIES
    seeds = row["seeds"] or []
    assert row["minutes"] is None or len(row["minutes"]) == len(seeds)
    if "plan" in row:
        assert set(row["plan"]) == {"seeds", "minutes", "worth"}
        assert row["command"] and row["evaluated"] and set(seeds) < set(row["plan"]["seeds"])
    for metric, values in row["metrics"].items():
        assert str(MetricName.parse(metric)) == metric and MetricName.parse(metric).protocol
        if isinstance(values, dict):
            assert set(values) - {"seeds"} == {"mean", "deviation"}, metric
        else:
            assert len(values) == len(seeds), metric
    if row["picture"]:
        picture = ROOT / "configs" / row["picture"]
        assert picture.is_file() and picture.stat().st_size < 300_000


@pytest.mark.parametrize(("name", "row"), ROWS, ids=map(ident, ROWS))
def test_a_command_trains_the_config_that_the_row_names(name: str, row: Row) -> None:
    if row["command"] is None:
        return
    location, fields = config_of(row["command"])
    config = load_config(location, fields)
    named = load_config(f"configs/{name}.py:{row['argument']}", fields)
    assert flatten(config) == flatten(named)
    assert "plan" not in row or config.train.steps == row["steps"]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=map(ident, ROWS))
def test_short_trainings_are_marked(name: str, row: Row) -> None:
    steps = row["steps"] if isinstance(row["steps"], list) else [row["steps"] or 0]
    own = loaded(f"configs/{name}.py").train.steps
    assert row["short"] or max(steps) >= own


def test_parameters_are_those_of_the_commands() -> None:
    for name in ("semi_supervised_gan", "pix2pix"):
        row = next(row for row in RESULTS[name] if row["command"])
        counts = count_parameters(row["command"], row.get("classes", 0))
        assert row["parameters"] == counts, name


@pytest.mark.parametrize("name", RESULTS)
def test_parameters_of_every_row(name: str) -> None:
    for row in RESULTS[name]:
        if row["command"] and row["parameters"]:
            assert row["parameters"] == count_parameters(row["command"], row.get("classes", 0))


def test_rows_without_parameters_are_counted() -> None:
    row = {"command": "python main.py", "parameters": None}
    assert fill_in_parameters({"quickstart": [row]})
    assert row["parameters"].keys() == {"gen", "disc"}
    assert not fill_in_parameters({"quickstart": [row]})


def test_the_page_says_short_not_measured_mean_and_seeds() -> None:
    row = dict.fromkeys(KEYS) | dict(
        argument="mnist",
        what="MNIST",
        seeds=[0, 1, 2],
        steps=[10, 12],
        short=True,
        metrics={"fid/cnn:run/test/10": [1.0, 2.0, 3.0], "kid/cnn:run/test/10": [0.5, 0.5, 0.5]},
        minutes=[1.0, None, 11.0],
        picture="",
        note="",
    )
    page = results_page({"dcgan": [row]}, {"dcgan": "Paper 1", "sngan": "Paper 2"})
    line = next(line for line in page.splitlines() if line.startswith("| [`dcgan`]"))
    assert "MNIST **(short)**" in line and "10 to 12" in line and "60 s to 11 min" in line
    assert "fid 2.0 ± 1.0, kid 0.5 ± 0 (seeds 0, 1, 2)" in line
    assert "| [`sngan`](sngan.py) | | Paper 2 | | | | not yet measured | | |" in page
    assert "`iwae`" not in page and "### Controls" not in page
    planned = row | {"metrics": {}, "seeds": None, "plan": {"seeds": [0], "minutes": 1, "worth": 1}}
    page = results_page({"dcgan": [planned]}, {"dcgan": "Paper 1"})
    line = next(line for line in page.splitlines() if line.startswith("| [`dcgan`]"))
    assert "not yet measured" in line
    page = results_page({"dcgan": [row | {"study": "controls"}]}, {"dcgan": "Paper 1"})
    assert "| 0, 1, 2 | 10 to 12 | 2.0 ± 1.0 | 0.5 ± 0 |" in page.partition("### Controls")[2]


def fields_of(section: str) -> set[str]:
    """Return every field that a section has under any of its names."""
    chosen = SECTIONS.get(section)
    if not isinstance(chosen, Choice):
        return set()
    return {field for name in chosen.factories for field in chosen.fields(section, name)}


def test_the_grid_has_the_fields_and_choices_of_the_code() -> None:
    grid = {field: row["choices"] for row in read_grid() for field in row["fields"]}
    shared = flatten(base("gan"))
    for field, choices in grid.items():
        if field in SECTIONS:
            section = SECTIONS[field]
            one = section if isinstance(section, Choice) else section.one
            assert set(choices) == set(one.factories), field
        elif field != "terms.disc.r1.every":
            section, _, last = field.rpartition(".")
            assert field in shared or last in fields_of(section), field
    assert set(grid["task.loss"]) == set(GAMES)
    assert set(SECTIONS) - set(grid) == {"optim.gen", "optim.disc", "task", "model"}
