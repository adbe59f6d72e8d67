"""--mode=inspect describes what would be trained, for every source, and writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import CONDITIONAL, make_images, snapshot, succeed
from conftest import ROOT, Trained

import gan_jax
from gan_jax.core.state import count_parameters


def inspect(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str
) -> str:
    """Run --mode=inspect in an empty folder, in which it must write nothing."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    name, _, rest = arguments[0].partition(":")
    config = f"--config={ROOT}/configs/{name}.py:{rest}"
    out = succeed(capsys, "--mode=inspect", config, *arguments[1:])
    assert snapshot(tmp_path / "empty") == {}
    return out


def check_says(out: str, *texts: str) -> None:
    # As one line, without the frames of the tables.
    words = " ".join(re.sub(r"[^\x20-\x7e]", " ", out).split())
    for text in texts:
        assert text in words, f"{text!r} is not in {words!r}"


def test_inspect_counts_parameters(
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    run_of: Callable[[str], Trained],
    tmp_path: Path,
) -> None:
    out = inspect(capsys, monkeypatch, tmp_path, "dcgan:smoke", *CONDITIONAL)
    nets = gan_jax.load(run_of("dcgan").workdir).state.nets
    sizes = {name: count_parameters(net.params) for name, net in nets.items()}
    check_says(out, "gen: Generator", "disc: Discriminator", f"total {sizes['gen']:,}")
    check_says(out, f"{sum(sizes.values()):,} parameters; the whole training state takes")


def test_inspect_digits(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = inspect(capsys, monkeypatch, tmp_path, "vae:digits")
    check_says(out, "data digits", "train 1,438, eval 359", "image, 16 x 16 x 1, float32")
    check_says(
        out,
        "10: 0, 1, 2, 3",
        "size [16, 16]",
        "channels 1",
        "resize bicubic",
        "encoder: ConvEncoder",
    )


def test_inspect_folder(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_images(tmp_path / "pets", [f"{c}/{i}.png" for c in ("cat", "dog") for i in "ab"])
    (folder / "README.md").write_text("")
    arguments = [f"vae:folder,path={folder},size=16", "--config.data.holdout=1"]
    out = inspect(capsys, monkeypatch, tmp_path, *arguments)
    check_says(out, "data pets", "train 3, eval 1", "16 x 16 x 3", "2: cat, dog", "skipped 0")
    check_says(out, "left out 1 (no PNG", "README.md")


def test_inspect_npz(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.savez(tmp_path / "noise.npz", image=np.zeros((20, 9, 7, 4), np.uint8))
    arguments = [f"vae:npz,path={tmp_path / 'noise.npz'}", "--config.data.size=16,8"]
    out = inspect(capsys, monkeypatch, tmp_path, *arguments)
    check_says(out, "data noise", "train 18, eval 2", "image, 16 x 8 x 4", "no labels")


def test_inspect_tfds(
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data_at_hand: Path,
) -> None:
    arguments = ["vae:mnist", f"--config.data.dir={data_at_hand.resolve() / 'tfds'}"]
    out = inspect(capsys, monkeypatch, tmp_path, *arguments)
    check_says(out, "data mnist", "train 55,000, eval 5,000, test 10,000", "28 x 28 x 1")
