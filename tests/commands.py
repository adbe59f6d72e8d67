"""What the tests of main.py share: commands in this process, and what they leave behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import main

SMOKE = "--config=configs/dcgan.py:smoke"
# The run that most tests share: with labels, and images that are not all grey.
CONDITIONAL = ("--config.model.conditional=projection", "--config.optim.gen.lr=0.3")


def snapshot(path: Path) -> dict[str, bytes] | None:
    """Return the files under `path` with their contents; None where it does not exist."""
    if not path.exists():
        return None
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(file.relative_to(path)): file.read_bytes() if file.is_file() else b""
        for file in sorted(path.rglob("*"))
    }


def succeed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run main.py; return its stdout. Nothing may be on stderr."""
    capsys.readouterr()
    code = main.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def refuse(
    capsys: pytest.CaptureFixture[str], *arguments: object, says: list[str], keeps: Path
) -> str:
    """Run main.py, which must end with one line of error and leave `keeps` as it is.

    Args:
      capsys: of the test.
      *arguments: of the command.
      says: what the line must contain.
      keeps: a folder, or a path where nothing is and nothing may come to be.

    Returns:
      The line.
    """
    before = snapshot(keeps)
    capsys.readouterr()
    code = main.main([str(a) for a in arguments])
    _, err = capsys.readouterr()
    check_error(code, err, says)
    assert snapshot(keeps) == before, "something was written"
    return err


def check_error(code: int, err: str, says: list[str]) -> None:
    """Assert what holds for every mistake of a user."""
    assert "Traceback" not in err
    assert code == 2, err
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    for text in says:
        assert text in err, f"{text!r} is not in {err!r}"


def make_images(folder: Path, names: list[str], size: tuple[int, int] = (8, 8)) -> Path:
    """Write grey noise as image files of those names and of `size` (height, width)."""
    draw = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, size, np.uint8)).save(path)
    return folder


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
