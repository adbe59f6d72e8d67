"""The table of the runs below a folder."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.library.runs_table import COLUMNS
from gan_jax.rundir.workdir import alone

FID = "fid/cnn:run/eval/16"


def copy(gan: Path, workdir: Path, **fields: Any) -> Path:
    """Return a copy of a run with fields such as `train__steps` changed."""
    shutil.copytree(gan, workdir, ignore=shutil.ignore_patterns("tensorboard"))
    config = json.loads((workdir / "config.json").read_text())
    for name, value in fields.items():
        section = config
        *path, leaf = name.split("__")
        for part in path:
            section = section[part]
        section[leaf] = value
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


def evaluated(workdir: Path, step: int, value: float, weights: str = "ab" * 32) -> None:
    (workdir / "eval").mkdir(exist_ok=True)
    (workdir / "eval" / f"{step}.json").write_text(json.dumps({FID: value, "elbo/eval/16": -value}))
    about = {FID: {"weights": weights}}
    (workdir / "eval" / f"{step}.about.json").write_text(json.dumps(about))


def test_table(gan: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    root = tmp_path / "runs"
    first = copy(gan, root / "b" / "first")
    second = copy(gan, root / "a", seed=7, train__steps=9, optim__gen__lr=0.1, data__size=[8, 8])
    third = copy(gan, root / "c", model__gen__width=6)
    del (config := json.loads((third / "config.json").read_text()))["model"]["latent"]
    (third / "config.json").write_text(json.dumps(config))
    evaluated(first, 1, 90.0)
    evaluated(first, 2, 10.0)
    evaluated(second, 2, 20.0)
    with (second / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "time/unix": 1767225600.0}\n{"step": 6, "time/')
    # What is no run that can be read.
    shutil.copytree(gan, root / "damaged", ignore=shutil.ignore_patterns("checkpoints"))
    (root / "damaged" / "config.json").write_text('{"schema": 1, "task": ')
    (root / "foreign").mkdir()
    (root / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    (root / "list").mkdir()
    (root / "list" / "config.json").write_text("[]")
    (root / "empty").mkdir()
    (root / "circle").symlink_to(root)
    with alone(third):
        frame = gan_jax.runs(root)
    assert frame["workdir"].tolist() == [str(root / name) for name in ("a", "b/first", "c")]
    assert frame["method"].tolist() == ["gan"] * 3 and frame["data"].tolist() == ["synthetic"] * 3
    assert frame["seed"].tolist() == [7, 0, 0]
    assert frame["step"].tolist() == [5, 2, 2] and frame["steps"].tolist() == [9, 2, 2]
    assert frame["status"].tolist() == ["unfinished", "complete", "running"]
    assert frame["written"][0] == pandas.Timestamp("2026-01-01", tz="UTC")
    assert (frame["started"] <= frame["written"])[1]
    # Fields that differ, and none beside.
    assert list(frame.columns) == [
        *COLUMNS[:-1],
        *("data.size", "model.gen.width", "model.latent", "optim.gen.lr"),
        *(COLUMNS[-1], "elbo/eval/16", FID),
    ]
    assert frame["data.size"].tolist() == ["(8, 8)", "(16, 16)", "(16, 16)"]
    assert frame["optim.gen.lr"][0] == 0.1 and frame["model.gen.width"][2] == 6
    assert frame["model.latent"].isna().tolist() == [False, False, True]
    assert frame["eval_step"].fillna(0).tolist() == [2, 2, 0]
    assert frame[FID].tolist()[:2] == [20.0, 10.0]
    left_out = frame.attrs["left_out"]
    assert left_out.keys() == {str(root / name) for name in ("damaged", "foreign", "list")}
    assert "no schema number" in left_out[str(root / "foreign")]
    assert "JSONDecodeError" in left_out[str(root / "damaged")]
    assert not any("\n" in reason for reason in left_out.values())
    # Numbers of other feature weights do not compare.
    evaluated(second, 2, 20.0, weights="cd" * 32)
    frame = gan_jax.runs(root)
    names = [name for name in frame.columns if name.startswith("fid")]
    assert len(names) == 2 and frame[names].notna().sum().tolist() == [1, 1]
    assert all(name.startswith(f"{FID} (data ") for name in names)
    assert "weights abababab" in names[0] and "weights cdcdcdcd" in names[1]
    # A folder that is a run, one that has none, and none.
    assert gan_jax.runs(first)["workdir"].tolist() == [str(first)]
    assert list(gan_jax.runs(root / "empty").columns) == list(COLUMNS)
    with pytest.raises(UserError, match="there is no such folder"):
        gan_jax.runs(root / "nothing")


def test_without_pandas(monkeypatch: pytest.MonkeyPatch, gan: Path) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (lambda: gan_jax.runs(gan), lambda: gan_jax.progress(gan).metrics):
        with pytest.raises(UserError, match="needs pandas: pip install pandas"):
            call()


def test_neither_jax_nor_pandas_is_imported_unasked(gan: Path) -> None:
    pytest.importorskip("pandas")
    program = (
        "import sys, gan_jax; dir(gan_jax); assert not {'pandas', 'jax'} & {*sys.modules}\n"
        "assert len(gan_jax.runs(sys.argv[1])) == 1 and 'jax' not in sys.modules\n"
        "assert gan_jax.progress(sys.argv[1]).step == 2"
    )
    # A platform that is not there: whatever asks for a device fails.
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "JAX_PLATFORMS": "nowhere", "PYTHONPATH": path}
    command = [sys.executable, "-c", program, gan]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
