"""Batches are a function of (seed, position), independent of reader and starting point."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import chex
import numpy as np
import pytest
from PIL import Image

from configs.common import base
from gan_jax.core.errors import UserError
from gan_jax.data import Split, open_data
from gan_jax.data.dataset import array_split
from gan_jax.data.pipeline import Order, batches, eval_batches, prefetch

SIZE = 23


def numbers(size: int = SIZE) -> Split:
    """Return a split whose examples hold their index."""
    return array_split({"index": np.arange(size)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    for i in range(SIZE):
        draw = np.random.default_rng(i)
        (path / f"c{i % 3}").mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (6, 5, 3)).astype(np.uint8)).save(
            path / f"c{i % 3}" / f"{i}.png"
        )
    return path


def open_split(folder: Path, memory_gib: float) -> Split:
    config = base("gan").data
    config.update(dict(source="folder", path=str(folder), size=(4, 4), holdout=3.0))
    config.memory_gib = memory_gib
    return open_data(config).splits["train"]


def take(split: Split, count: int = 5, **changes: object) -> list[dict[str, np.ndarray]]:
    draws = changes.pop("draws", 1)
    given = dict(seed=1, position=0, batch_size=8, draws=itertools.repeat(draws, count)) | changes
    return list(batches(split, **given))


def indices(split: Split, **changes: object) -> np.ndarray:
    return np.concatenate([b["index"].reshape(-1) for b in take(split, **changes)])


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize("position", [0, 13, 2**32 - 24])
@pytest.mark.parametrize("shard", [(0, 1), (1, 2)])
def test_memory_and_streaming_agree(
    folder: Path, draws: int, position: int, shard: tuple[int, int]
) -> None:
    in_memory, streamed = open_split(folder, 4.0), open_split(folder, 0.0)
    assert in_memory.in_memory and not streamed.in_memory and len(streamed) == SIZE - 3
    how = dict(draws=draws, position=position, shard=shard, count=6)  # crosses epochs
    one, two = take(in_memory, **how), take(streamed, **how)
    assert len(one) == 6
    assert one[0]["image"].shape == (draws, 8 // shard[1], 4, 4, 3)
    assert one[0]["image"].dtype == np.uint8
    assert one[0]["label"].shape == (draws, 8 // shard[1])
    chex.assert_trees_all_equal(one, two)


def test_every_epoch_shows_every_example_once() -> None:
    seen = indices(numbers(), count=23).reshape(-1, SIZE)  # 8 epochs of 23 in 23 batches of 8
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in seen.tolist())
    assert len({tuple(epoch) for epoch in seen.tolist()}) == len(seen), "epochs in the same order"
    assert (indices(numbers(), count=23, seed=2) != seen.reshape(-1)).any()


@pytest.mark.parametrize("batch_size", [8, 50])
def test_position_is_all_there_is(batch_size: int) -> None:
    whole = indices(numbers(), count=6, batch_size=batch_size)
    for done in range(6):
        rest = indices(numbers(), count=6 - done, batch_size=batch_size, position=done * batch_size)
        assert (rest == whole[done * batch_size :]).all()
    # Draws only group examples: their order is the same.
    assert (indices(numbers(), count=3, batch_size=batch_size, draws=2) == whole).all()
    mixed = [b["index"] for b in take(numbers(), draws=1, count=1, batch_size=batch_size)]
    assert mixed[0].shape == (1, batch_size)


def test_draws_may_change_during_training() -> None:
    made = list(batches(numbers(), seed=1, position=0, batch_size=4, draws=[1, 3, 2]))
    assert [b["index"].shape for b in made] == [(1, 4), (3, 4), (2, 4)]
    flat = np.concatenate([b["index"].reshape(-1) for b in made])
    assert (flat == indices(numbers(), batch_size=4, count=6)).all()


@pytest.mark.parametrize("draws", [1, 2])
def test_shards_are_disjoint_and_complete(draws: int) -> None:
    whole = take(numbers(), draws=draws, position=5)
    parts = [take(numbers(), draws=draws, position=5, shard=(i, 4)) for i in range(4)]
    for expected, *slices in zip(whole, *parts, strict=True):
        joined = np.concatenate([b["index"] for b in slices], axis=1)
        assert (joined == expected["index"]).all()


def test_position_wraps_as_the_state_does() -> None:
    """The position is uint32 in the state: a resumed run must equal an uninterrupted one."""
    unbroken = indices(numbers(), position=2**32 - 16, count=4)
    assert (unbroken[16:] == indices(numbers(), position=0, count=2)).all()


def test_order() -> None:
    order = Order(7, seed=3)
    both = order[np.asarray([0, 7, 1, 13, 6])]
    assert (both == [int(order[np.asarray(i)]) for i in (0, 7, 1, 13, 6)]).all()


def test_a_bad_file_is_named_while_streaming(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).write_bytes(path.read_bytes())
    split = open_split(tmp_path, 0.0)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"cannot read image .*\.png"):
        take(split)


def test_streaming_leaves_no_threads(folder: Path) -> None:
    split = open_split(folder, 0.0)
    before = threading.active_count()
    source = batches(split, seed=0, position=0, batch_size=4, draws=itertools.repeat(1))
    feed = prefetch(source, lambda batch: batch)
    assert next(feed)["image"].shape == (1, 4, 4, 4, 3)
    feed.close()
    del source, feed
    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline, [t.name for t in threading.enumerate()]
        time.sleep(0.01)


def prefetch_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_prefetch_keeps_the_order() -> None:
    assert list(prefetch(iter(range(50)), lambda x: x * 2, size=3)) == [2 * i for i in range(50)]
    assert not prefetch_threads()


def test_prefetch_works_ahead_no_further_than_it_may() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    feed = prefetch(source(), lambda x: x, size=2)
    assert next(feed) == 0
    deadline = time.monotonic() + 10
    while len(taken) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(taken) == 4  # one consumed, two ready, one blocked
    feed.close()
    assert not prefetch_threads()


@pytest.mark.parametrize("where", ["source", "place"])
def test_prefetch_raises_what_its_thread_raised(where: str) -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        if where == "source":
            raise UserError("bad file")
        yield 3

    def place(x: int) -> int:
        if x == 3:
            raise UserError("bad file")
        return x

    feed = prefetch(source(), place)
    assert [next(feed), next(feed)] == [1, 2]
    with pytest.raises(UserError, match="bad file"):
        next(feed)
    assert not prefetch_threads()


def test_prefetch_closed_closes_its_source() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread().name)

    feed = prefetch(source(), lambda x: x)
    assert next(feed) == 0
    feed.close()
    assert closed == ["prefetch"] and not prefetch_threads()
    prefetch(source(), lambda x: x).close()  # never started: no thread to end
    assert not prefetch_threads()


def test_eval_batches() -> None:
    split = array_split({"index_too": np.arange(11), "image": np.zeros((11, 2, 2, 1), np.uint8)})
    made = list(eval_batches(split, 4))
    assert [b["index"].tolist() for b in made] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 10]]
    assert [b["mask"].tolist() for b in made] == [[1] * 4, [1] * 4, [1, 1, 1, 0]]
    for batch in made:
        assert (batch["index_too"] == batch["index"]).all()
        assert batch["index"].dtype == np.int32 and batch["mask"].dtype == np.float32
        assert batch["image"].shape == (4, 2, 2, 1) and batch["image"].dtype == np.float32
    assert sum(b["mask"].sum() for b in eval_batches(split, 11)) == 11
    assert [b["mask"].sum() for b in eval_batches(split, 64)] == [11]
