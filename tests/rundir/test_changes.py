"""Deliberate changes of a run: what is recorded, also if the process is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_jax.rundir.changes import Change, read_changes, write_changes

LR, DECAY = "optim.net.lr", "optim.net.weight_decay"


def write(run: Path, step: int, new: dict, **now: float) -> list[Change]:
    write_changes(run, step, new, {LR: now.get("lr"), DECAY: now.get("decay")})
    return read_changes(run)


def test_changes_in_their_order(tmp_path: Path) -> None:
    assert write(tmp_path, 0, {}, lr=1.0) == [] and not list(tmp_path.iterdir())
    first = write(tmp_path, 10, {LR: (1.0, 0.5)}, lr=0.5, decay=0.0)
    assert first == [Change(10, LR, 1.0, 0.5)]
    assert str(first[0]) == "optim.net.lr 1.0 -> 0.5 after step 10"
    both = write(tmp_path, 1000, {LR: (0.5, 0.1), DECAY: (0.0, 0.2)}, lr=0.1, decay=0.2)
    assert both == [*first, Change(1000, LR, 0.5, 0.1), Change(1000, DECAY, 0.0, 0.2)]
    assert write(tmp_path, 2000, {}, lr=0.1, decay=0.2) == both, "a resume changes nothing"
    assert str(both[1]).endswith("after step 1,000")


def test_killed_before_the_config_was_written(tmp_path: Path) -> None:
    write(tmp_path, 10, {LR: (1.0, 0.5)}, lr=0.5)
    assert write(tmp_path, 10, {}, lr=1.0) == [], "the config still has the old value"
    write(tmp_path, 10, {LR: (1.0, 0.5)}, lr=0.5)
    again = write(tmp_path, 10, {LR: (1.0, 0.2)}, lr=0.2)
    assert again == [Change(10, LR, 1.0, 0.2)]


def test_twice_at_one_step_is_once(tmp_path: Path) -> None:
    write(tmp_path, 10, {LR: (1.0, 0.5)}, lr=0.5)
    assert write(tmp_path, 10, {LR: (0.5, 0.2)}, lr=0.2) == [Change(10, LR, 1.0, 0.2)]
    assert write(tmp_path, 10, {LR: (0.2, 1.0)}, lr=1.0) == [], "back again"


@pytest.mark.parametrize(
    ("step", "left"), [(5, [(5, 1.0, 0.1)]), (15, [(10, 1.0, 0.5), (15, 0.5, 0.1)])]
)
def test_what_was_trained_with_it_was_lost(tmp_path: Path, step: int, left: list) -> None:
    """Later checkpoints are damaged: the change applies from an older one on."""
    write(tmp_path, 10, {LR: (1.0, 0.5)}, lr=0.5)
    write(tmp_path, 20, {LR: (0.5, 0.1)}, lr=0.1)
    assert write(tmp_path, step, {}, lr=0.1) == [Change(s, LR, a, b) for s, a, b in left]
