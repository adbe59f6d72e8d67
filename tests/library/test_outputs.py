"""Output folders: one call each, and no other files are lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.core.images import save_png
from gan_jax.library.outputs import SHEET, TABLE, check_output, clear, compared_names, output_names

PIXEL = np.zeros((1, 1, 1), np.uint8)


def test_no_two_outputs_have_one_name() -> None:
    assert output_names(["a.jpg", "b/a.png"]) == {"a.jpg": "a.png", "b/a.png": "b/a.png"}
    for names, expected in (
        (["a.jpg", "a.png"], ["a.jpg.png", "a.png.png"]),
        # One image's full name equals the PNG name from another's key.
        (["a.jpg", "a.jpg.jpg", "a.png"], ["a.jpg.png", "a.jpg.jpg.png", "a.png.png"]),
        (["cat.night", "cat.night.jpg"], ["cat.night.png", "cat.night.jpg.png"]),
    ):
        assert list(output_names(names).values()) == expected


def test_comparisons_have_names_of_their_own() -> None:
    made = {"a.jpg": "a.png", "b/c.png": "b/c.png", "a.compare.png": "a.compare.png"}
    assert list(compared_names(made).values()) == [
        *("a.compare.compare.png", "b/c.compare.png", "a.compare.compare.compare.png")
    ]


def test_an_interrupted_call(tmp_path: Path) -> None:
    """Earlier outputs are refused, or deleted on request; hidden files are ignored."""
    out = tmp_path / "out"
    check_output(out)
    save_png(out / SHEET, PIXEL)
    check_output(out)
    save_png(out / "a" / "3.png", PIXEL, {"run": "r", "source": "a/3.jpg"})
    with pytest.raises(UserError, match=r"out holds 1 files \(a/3\.png\).*--overwrite"):
        check_output(out)
    with pytest.raises(UserError, match="holds 1 files"):  # it appeared after the first check
        clear(out, overwrite=False)
    (out / TABLE).write_text("file,run,step,seed,index\n")
    check_output(out, overwrite=True)
    assert (out / "a" / "3.png").is_file()  # not deleted until there is something to write
    clear(out, overwrite=True)
    assert [path.name for path in out.rglob("*")] == ["a"]


def test_what_is_never_deleted(tmp_path: Path) -> None:
    for name, text in (
        ("photo.png", {}),
        ("0001_samples.png", {"run": "r", "step": "1", "seed": "0"}),  # from a training
    ):
        save_png(tmp_path / name / name, PIXEL, text)
    (tmp_path / "link").mkdir()
    save_png(tmp_path / "ours.png", PIXEL, {"run": "r", "index": "0"})
    (tmp_path / "link" / "ours.png").symlink_to(tmp_path / "ours.png")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / TABLE).write_text("file,caption\n")
    for folder in ("photo.png", "0001_samples.png", "link", "table"):
        with pytest.raises(UserError, match="--overwrite deletes none of them"):
            clear(tmp_path / folder, overwrite=True)
        assert len(list((tmp_path / folder).iterdir())) == 1
