"""The pages that people read: their commands are legal, their links lead somewhere."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from conftest import NAMES, ROOT

from gan_jax.cli.flags import make_parser
from gan_jax.cli.modes import MODES, check_flags
from gan_jax.core.config import split_overrides
from gan_jax.core.errors import UserError
from gan_jax.methods.configs import load_config

ROOMS = sorted((ROOT / "gan_jax").rglob("README.md"))
PAGES = [ROOT / "README.md", ROOT / "configs" / "README.md", *ROOMS]
DOCSTRINGS = [ROOT / "configs" / f"{name}.py" for name in NAMES]
OPTIONS = {  # of tasks and their evaluations
    *("truncation", "standing", "weights", "rejection", "percentile", "temperature"),
    *("samples", "binarize"),
}
PLACEHOLDERS = ("FILE", "my_")  # a config that there is not


def commands(path: Path) -> list[list[str]]:
    """Return the flags of every `python main.py` of a page, without the text beside it."""
    text = re.sub(r"<!--.*?-->", "", path.read_text(), flags=re.DOTALL)
    lines = re.findall(r"python main\.py([^`\n]*)", re.sub(r"\\+\n", " ", text))
    of_flags = lambda word: word.startswith("--")  # noqa: E731
    return [[w.rstrip(".,:;") for w in itertools.takewhile(of_flags, x.split())] for x in lines]


def check(flags: list[str]) -> None:
    """Raise unless the command takes these flags, and its config is legal."""
    parser = make_parser()
    known, others = parser.parse_known_args(flags)
    check_flags(known, vars(parser.parse_args([])))
    overrides, rest = split_overrides(others, "--config.")
    options, unknown = split_overrides(rest, "--")
    assert not unknown and set(options) <= OPTIONS, flags
    assert not options or known.mode in ("sample", "transform", "eval"), flags
    if known.config and not known.config.startswith(PLACEHOLDERS):
        mine = {k: v for k, v in overrides.items() if "my_" not in v}
        load_config(known.config, mine)


@pytest.mark.parametrize(
    "path", [*PAGES, *DOCSTRINGS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_commands_are_legal(path: Path) -> None:
    found = commands(path)
    assert found or path in ROOMS
    for flags in found:
        check(flags)


@pytest.mark.parametrize(
    "flags", ["--mode=paint", "--input=DIR", "--truncate=1", "--config=configs/dcgan.py:mnits"]
)
def test_a_mistake_in_a_command_is_noticed(flags: str) -> None:
    with pytest.raises((UserError, AssertionError)):
        check(flags.split())


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_readme_is_short_and_shows_every_mode_room_and_config() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 220
    for command in ("pip install -e . && python main.py", "pip install -e '.[test]' && pytest"):
        assert f"```\n{command}\n```" in text
    for mode in {*MODES} - {"train"}:
        assert f"--mode={mode}" in text
    for room in (ROOT / "gan_jax").glob("*/__init__.py"):
        assert f"\n  {room.parent.name}/ " in text, room
    for page in ROOMS:
        assert f"({page.relative_to(ROOT).as_posix()})" in text, page
    for name in NAMES:
        assert f"`{name}`" in text, name
