"""Unpaired data: two domains, each with its own order, from two folders, one, or pairs."""

from __future__ import annotations

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from image_folders import levels, pairs, settings, write
from PIL import Image

from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.data import Dataset, Domains, open_data
from gan_jax.data.dataset import array_split
from gan_jax.data.pipeline import batches
from gan_jax.data.resident import fits, resident_batches


def domains(first: int = 23, second: int = 15) -> Domains:
    """Return two domains whose examples hold their index; domain b starts at 100."""
    a = {"image": np.arange(first, dtype=np.uint8)}
    return Domains(
        {"a": array_split(a), "b": array_split({"target": np.arange(100, 100 + second)})}
    )


def drawn(split: Domains, number: int, **given: int) -> dict[str, np.ndarray]:
    found = next(batches(split, seed=1, draws=[number], **given))
    return {name: x.ravel() for name, x in found.items()}


def test_each_domain_has_an_order_of_its_own_at_the_shared_position() -> None:
    split, given = domains(), dict(batch_size=15)
    assert len(split) == 23
    whole = drawn(split, 23, position=0, **given)  # 345 examples: 15 epochs of a, 23 of b
    assert [sorted(whole["image"][i : i + 23]) for i in range(0, 345, 23)] == [[*range(23)]] * 15
    assert [sorted(whole["target"][i : i + 15]) for i in range(0, 345, 15)] == [
        [*range(100, 115)]
    ] * 23
    alone = drawn(split.parts["a"], 23, position=0, **given)
    np.testing.assert_array_equal(alone["image"], whole["image"])  # as if there were no b
    later = drawn(split, 1, position=45, **given)
    chex.assert_trees_all_equal(later, {k: x[45:60] for k, x in whole.items()})
    same = Domains({name: array_split({name: np.arange(23)}) for name in "ab"})
    both = drawn(same, 1, position=0, batch_size=23)
    assert (both["a"] != both["b"]).sum() > 15, "unpaired: not two by two"
    other = next(batches(split, seed=2, position=0, draws=[1], **given))["target"].ravel()
    assert (other != whole["target"][:15]).any()


def test_slices_of_processes_and_batches_on_the_devices_are_the_same() -> None:
    split, given = domains(), dict(position=2**32 - 24, batch_size=8)
    draws = [1, 2, 1]
    whole = list(batches(split, seed=1, draws=draws, **given))
    halves = [list(batches(split, seed=1, draws=draws, shard=(i, 2), **given)) for i in (0, 1)]
    for batch, *parts in zip(whole, *halves, strict=True):
        joined = {k: np.concatenate([part[k] for part in parts], 1) for k in batch}
        chex.assert_trees_all_equal(joined, batch)
    assert fits(split, 23 + 15 * 8) and not fits(split, (23 + 15 * 8 - 1) / 2**30)
    position = given["position"]
    feed = resident_batches(split, jax.device_put, seed=1, draws=draws, **given)
    for batch, held in zip(whole, feed, strict=True):
        gathered = jax.device_get(held.gather(jnp.uint32(position), 8))
        chex.assert_trees_all_equal(gathered, batch)
        position = (position + len(batch["image"]) * 8) % 2**32


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write(tmp_path / "one", *(f"{i}.png" for i in range(40)))
    write(tmp_path / "two", *(f"{i}.jpg" for i in range(30)), negative=True)
    return tmp_path


def unpaired(dataset: Dataset, split: str) -> tuple[list[int], list[int]]:
    """Return the grey levels of a split of both domains; for b, as in the file's name."""
    parts = dataset.splits[split].parts
    return tuple(
        levels(Dataset(dataset.spec, {split: part}), split, stream)
        for part, stream in zip(parts.values(), ("image", "target"), strict=True)
    )


def test_two_folders(two: Path) -> None:
    dataset = open_data(pairs(two, unpaired=True))
    spec = dataset.spec
    assert [(k, s.domain) for k, s in spec.streams.items()] == [("image", "a"), ("target", "b")]
    assert [list(d) for d in spec.domains(training=False)] == [["image"], ["target"]]
    assert spec.name == "one-two" and DataSpec.from_json(spec.to_json()) == spec
    a, b = zip(*(unpaired(dataset, split) for split in ("train", "eval")), strict=True)
    assert sorted(a[0] + a[1]) == list(range(40)) and min(map(len, a)) > 0
    # JPEG of one grey level is exact here.
    assert sorted(255 - x for x in b[0] + b[1]) == list(range(30)) and min(map(len, b)) > 0
    counts = {f"{s} {d}": len(dataset.splits[s].parts[d]) for s in ("train", "eval") for d in "ab"}
    assert spec.counts == {**counts, "train": max(map(len, (a[0], b[0]))), "eval": len(a[1])}
    write(two / "two", "90.png", negative=True)
    assert not open_data(pairs(two, unpaired=True)).spec.same_data(spec)


def test_evaluation_may_stay_paired(two: Path) -> None:
    config = pairs(two, unpaired=True, eval_pairs=True)
    with pytest.raises(UserError, match="no partner of the same name in the other domain"):
        open_data(config)
    config.on_error = "skip"
    dataset = open_data(config)
    image, target = levels(dataset, "eval"), levels(dataset, "eval", "target")
    assert target == [255 - x for x in image] and image and max(image) < 30
    a, b = unpaired(dataset, "train")
    assert not {*image} & {*a} and not {*target} & {*b}
    assert len(b) + len(target) == 30, "what has no partner is trained on"
    assert dataset.spec.eval_pairs and len(dataset.spec.domains(training=False)) == 1
    assert any("no partner" in note for note in dataset.spec.notes)
    whole = open_data(pairs(two, unpaired=True)).spec
    assert not dataset.spec.same_data(whole)


def test_one_folder_with_both_domains(tmp_path: Path) -> None:
    for name, start, number in (("trainA", 0, 9), ("trainB", 20, 7), ("testA", 40, 3)):
        write(tmp_path, *(f"{name}/{start + i}.png" for i in range(number)))
    write(tmp_path, "testB/40.png", "testB/41.png", "testB/42.png", negative=True)
    write(tmp_path, "other/1.png")
    config = settings(tmp_path, unpaired=True)
    dataset = open_data(config)
    assert unpaired(dataset, "train") == ([*range(9)], [*range(20, 27)])
    assert unpaired(dataset, "test") == ([40, 41, 42], [255 - i for i in (40, 41, 42)])
    config.eval_pairs = True
    paired = open_data(config)
    assert levels(paired, "test") == [40, 41, 42]
    assert levels(paired, "test", "target") == [255 - i for i in (40, 41, 42)]
    assert unpaired(paired, "train") == unpaired(dataset, "train")
    with pytest.raises(UserError, match="folder with trainA and trainB"):
        open_data(settings(tmp_path / "trainA", unpaired=True))


def test_both_halves_in_one_file(tmp_path: Path) -> None:
    for i in range(8):
        array = np.full((6, 12, 1), i, np.uint8)
        array[:, 6:] = 200 + i
        Image.fromarray(array[..., 0]).save(tmp_path / f"{i}.png")
    dataset = open_data(settings(tmp_path, halves="ab"))
    image = levels(dataset, "train")
    assert levels(dataset, "train", "target") == [200 + x for x in image] and max(image) < 8
    turned = open_data(settings(tmp_path, halves="ba"))
    assert levels(turned, "train") == levels(dataset, "train", "target")
    assert not turned.spec.same_data(dataset.spec)
    apart = open_data(settings(tmp_path, halves="ab", unpaired=True, eval_pairs=True))
    assert isinstance(apart.splits["train"], Domains)
    assert levels(apart, "eval") == levels(dataset, "eval")
    assert sorted(unpaired(apart, "train")[1]) == [200 + x for x in sorted(image)]
    Image.fromarray(np.zeros((6, 11), np.uint8)).save(tmp_path / "9.png")
    with pytest.raises(UserError, match=r"9\.png.* 11 px wide, an odd number"):
        open_data(settings(tmp_path, halves="ab"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(halves="ac"), "data.halves"),
        (dict(halves="ab", target_path="elsewhere"), "leave one of them out"),
        (dict(eval_pairs=True), "set data.unpaired=true too"),
        (dict(unpaired=True), "name the second folder"),
        (dict(source="synthetic", unpaired=True), "no targets"),
        (
            dict(source="synthetic", unpaired=True, target_path="synthetic", labelled=10),
            "data.labelled=10 with data.unpaired",
        ),
    ],
)
def test_refused(changes: dict, says: str, tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    if changes.get("target_path") == "elsewhere":
        changes = {**changes, "target_path": str(tmp_path)}
    with pytest.raises(UserError, match=says):
        open_data(settings(tmp_path, **changes))
