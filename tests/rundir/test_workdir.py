"""The record of a run: written atomically, read back equal, never overwritten by another run."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.methods.configs import load_config
from gan_jax.rundir.workdir import (
    alone,
    check_spec,
    check_workdir,
    in_use,
    read_config,
    read_spec,
    remember_places,
    write_record,
    write_text,
)

SPEC = DataSpec(
    name="mine",
    streams={
        "image": Stream((32, 24, 3), "float32", "image"),
        "label": Stream((), "int32", "label"),
        "target": Stream((5,), "float32", "vector"),
    },
    num_classes=2,
    class_names=("Käfer", "猫"),
    counts={"train": 90, "eval": 10},
    preprocess=dict(size=[32, 24], channels=3, resize="bicubic", fit="pad", skipped=2),
    fingerprint="0123456789abcdef",
)


@pytest.fixture
def config() -> ConfigDict:
    return load_config("configs/quickstart.py")


@pytest.fixture
def run(tmp_path: Path, config: ConfigDict) -> Path:
    (tmp_path / "run" / "checkpoints" / "1").mkdir(parents=True)
    write_record(tmp_path / "run", config, SPEC, ["cpu:0"])
    return tmp_path / "run"


def test_spec_round_trip() -> None:
    again = DataSpec.from_json(SPEC.to_json())
    assert again == SPEC and again.image_shape == (32, 24, 3)
    assert isinstance(again.class_names, tuple) and again.to_json() == SPEC.to_json()
    small = DataSpec("x", {"image": Stream((1, 1, 1), "float32", "image")})
    assert DataSpec.from_json(small.to_json()) == small
    assert small.unlabelled == "x has none"
    noted = dataclasses.replace(small, notes=("a: left out 1 (hidden): b",))
    assert DataSpec.from_json(noted.to_json()) == noted
    assert noted.unlabelled == "x has none (a: left out 1 (hidden): b)"
    old = json.loads(small.to_json())
    del old["notes"]  # older runs have none
    assert DataSpec.from_json(json.dumps(old)) == small


def test_labels_by_name() -> None:
    assert [SPEC.label(text) for text in ("猫", "Käfer", "1", "0", "7")] == [1, 0, 1, 0, 7]
    assert SPEC.label("Ka\u0308fer") == 0  # the same name in Unicode NFD form
    from_five = dataclasses.replace(SPEC, class_names=("5", "6"))
    assert [from_five.label(text) for text in ("5", "6", "1")] == [0, 1, 1]
    with pytest.raises(UserError, match=r"--labels=Kafer; did you mean 'Käfer'\?.*Käfer, 猫"):
        SPEC.label("Kafer")


def test_record(run: Path, config: ConfigDict) -> None:
    assert read_config(run).to_dict() == config.to_dict()
    assert read_spec(run) == SPEC
    (start,) = json.loads((run / "environment.json").read_text())["starts"]
    assert start["devices"] == ["cpu:0"] and start["data"] == SPEC.fingerprint
    assert start["versions"]["jax"][0].isdigit() and "commit" in start and "time" in start
    write_record(run, config, SPEC, ["cpu:0", "cpu:1"])
    starts = json.loads((run / "environment.json").read_text())["starts"]
    assert [len(s["devices"]) for s in starts] == [1, 2]
    files = {"config.json", "spec.json", "environment.json"}
    assert {p.name for p in run.iterdir()} == {*files, "checkpoints"}


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run \(it has no config\.json\)"):
        read_config(tmp_path)
    with pytest.raises(UserError, match=r"has no spec\.json"):
        read_spec(tmp_path)


def test_check_workdir(run: Path, config: ConfigDict, tmp_path: Path) -> None:
    assert check_workdir(run, config) == []
    assert check_workdir(tmp_path / "new", config) == []
    (tmp_path / "empty").mkdir()
    assert check_workdir(tmp_path / "empty", config) == []
    config.train.log_every = 7
    assert check_workdir(run, config) == ["train.log_every: 100 -> 7"]
    config.train.batch_size = 7
    before = (run / "config.json").read_bytes()
    says = r"another config \(train\.batch_size: 64 -> 7\).*; --change lets train\.batch_size"
    with pytest.raises(UserError, match=says):
        check_workdir(run, config)
    assert check_workdir(run, config, change=True)[0] == "train.batch_size: 64 -> 7"
    old = read_config(run)
    old.task.top_k = config.task.top_k = 0.5
    write_text(run / "config.json", json.dumps({"schema": 1, **old.to_dict()}))
    with pytest.raises(UserError, match=r"resume it; task\.top_k counts images in batch"):
        check_workdir(run, config, change=True)
    write_text(run / "config.json", before.decode())
    assert (run / "config.json").read_bytes() == before


def test_occupied_workdirs(config: ConfigDict, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file: name a directory"):
        check_workdir(tmp_path / "file", config)
    (tmp_path / "odd" / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has checkpoints and no config\.json"):
        check_workdir(tmp_path / "odd", config)


@pytest.mark.parametrize("left", ["", "4.orbax-checkpoint-tmp-1"])
def test_without_a_checkpoint_no_run_has_begun(run: Path, config: ConfigDict, left: str) -> None:
    """Files left by a kill before the first checkpoint do not prevent any training there."""
    (run / "checkpoints" / "1").rename(run / "checkpoints" / left if left else run / "gone")
    config.train.batch_size = 7
    assert check_workdir(run, config) == []
    other = DataSpec.from_json(SPEC.to_json().replace("0123456789abcdef", "fedcba9876543210"))
    check_spec(run, other)
    write_record(run, config, other, ["cpu:0", "cpu:1"])
    assert read_config(run).train.batch_size == 7 and read_spec(run) == other
    (start,) = json.loads((run / "environment.json").read_text())["starts"]
    assert len(start["devices"]) == 2, "the start that left nothing is none of this run"
    (run / "config.json").unlink()
    assert check_workdir(run, config) == []


def test_check_spec(run: Path, tmp_path: Path) -> None:
    check_spec(run, SPEC)
    check_spec(tmp_path / "new", SPEC)
    other = DataSpec.from_json(SPEC.to_json().replace("0123456789abcdef", "fedcba9876543210"))
    changed = r"have changed .*0123456789ab \(train 90, eval 10\) -> fedcba987654 \("
    with pytest.raises(UserError, match=rf"{changed}.*\): restore them, or train in another"):
        check_spec(run, other)
    with pytest.raises(UserError, match="restore them, or train in another"):
        check_spec(run, other, source="npz", change=True)


def test_data_that_changed_on_purpose(run: Path) -> None:
    more = dataclasses.replace(SPEC, fingerprint="f" * 64, counts={"train": 95, "eval": 12})
    with pytest.raises(UserError, match="or go on with them as they are now by --change"):
        check_spec(run, more, source="folder")
    renamed = dataclasses.replace(more, name="moved", preprocess={**SPEC.preprocess, "skipped": 0})
    found = check_spec(run, renamed, source="folder", change=True)
    assert found == dataclasses.replace(SPEC, fingerprint=more.fingerprint, counts=more.counts)
    for other in (
        dataclasses.replace(more, class_names=("Käfer", "猫", "犬"), num_classes=3),
        dataclasses.replace(more, preprocess={**SPEC.preprocess, "channels": 1}),
    ):
        with pytest.raises(UserError, match="restore them, or train in another"):
            check_spec(run, other, source="folder", change=True)


def test_same_data_of_another_name(run: Path) -> None:
    """The record keeps the data's name, so that results tables group the runs together."""
    again = dataclasses.replace(SPEC, name="moved", fingerprint="new", former=(SPEC.fingerprint,))
    assert check_spec(run, again) == SPEC


def test_a_new_place_is_remembered(
    run: Path, config: ConfigDict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config.data.update(dict(source="folder", path="/old", holdout=0.5))
    write_record(run, config, SPEC, [])
    monkeypatch.chdir(tmp_path)
    config.data.path, config.train.steps = "new", 7
    remember_places(run, config)
    kept = read_config(run)
    assert kept.data.path == str(tmp_path / "new") and kept.train.steps == 4000


def test_write_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "x.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o644

    def fail(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "three")
    assert path.read_text() == "two" and [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_one_training_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path):
        with pytest.raises(UserError, match="in use by another training"), alone(tmp_path):
            pass
        with alone(tmp_path / "another"):
            pass
        assert in_use(tmp_path) and not in_use(tmp_path / "another")
    assert not in_use(tmp_path) and not in_use(tmp_path / "nothing")
    with alone(tmp_path):
        pass


def test_who_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    with alone(tmp_path):
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            in_use(tmp_path)
            time.sleep(0.001)

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(5):
            with alone(tmp_path):
                assert in_use(tmp_path)
    finally:
        stop.set()
        for thread in looking:
            thread.join()
