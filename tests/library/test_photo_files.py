"""Image files in, image files or a table out: names, formats, comparisons, and what is left out."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import check_error, make_images, refuse, snapshot, succeed, truncate
from conftest import ROOT, Trained
from convolutions import convolutions_of
from PIL import Image

import gan_jax
import main
from gan_jax.core.images import read_image, to_float, to_uint8
from gan_jax.core.photos import Photo, read_photo, write_photo
from gan_jax.library import photo_files
from gan_jax.library.run import Run


@pytest.fixture(scope="module")
def loaded(trained: Callable[..., Trained]) -> Run:
    return convolutions_of(gan_jax.load(trained("vae").workdir))


@pytest.fixture
def command(loaded: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the beginning of a command that uses convolutions."""
    monkeypatch.setattr(photo_files, "load", lambda *given, **named: loaded)
    return ["--mode=transform", f"--workdir={loaded.workdir}"]


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    planes = [120 + 90 * np.sin(x / 5), 120 + 90 * np.cos(y / 7), x + y, 255 - 3 * y]
    return np.clip(np.stack(planes[:channels], -1), 0, 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    write_photo(folder / "a.png", Photo(photo(20, 31)))
    write_photo(folder / "sub" / "deep" / "b.jpg", Photo(photo(41, 9)))
    write_photo(folder / "sub" / "clear.png", Photo(photo(12, 14), photo(12, 14, 1)[..., 0]))
    return folder


def test_a_folder_is_mirrored(
    capsys: pytest.CaptureFixture, command: list[str], loaded: Run, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = [*command, f"--input={photos}", f"--output={out}", "--name=double"]
    assert "wrote 3 images" in succeed(capsys, *given, "--compare")
    names = ["a.png", "sub/clear.png", "sub/deep/b.png"]
    compared = [name.replace(".png", ".compare.png") for name in names]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == sorted(
        names + compared
    )
    for name, source in zip(names, ("a.png", "sub/clear.png", "sub/deep/b.jpg"), strict=True):
        stored, made = read_photo(photos / source, 3), read_photo(out / name, 3)
        expected = to_uint8(loaded.transform(stored.pixels, "double"))
        assert np.abs(made.pixels.astype(int) - expected).max() <= 1
        assert (made.alpha is None) == (stored.alpha is None)
        sheet = read_image(out / name.replace(".png", ".compare.png"))
        height, width = made.pixels.shape[:2]
        assert sheet.shape == (height, 2 * width + 8, 3)
        np.testing.assert_array_equal(sheet[:, width + 8 :], made.pixels)
    alpha = Image.fromarray(photo(12, 14, 1)[..., 0]).resize((28, 24), Image.Resampling.BICUBIC)
    made = read_photo(out / "sub" / "clear.png", 3).alpha
    assert np.abs(made.astype(int) - np.asarray(alpha)).max() <= 1
    # Nothing is overwritten, until it is asked for; then only what is ours.
    refuse(capsys, *given, says=["holds 6 files", "--overwrite"], keeps=out)
    succeed(capsys, *given, "--overwrite")
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == names


def test_a_bad_file_is_named_and_the_rest_done(
    capsys: pytest.CaptureFixture, command: list[str], photos: Path, tmp_path: Path
) -> None:
    truncate(photos / "a.png")
    out = tmp_path / "out"
    given = [*command, f"--input={photos}", f"--output={out}", "--name=sharpen"]
    capsys.readouterr()
    assert main.main(given) == 1
    said, err = capsys.readouterr()
    assert "wrote 2 images" in said
    assert (
        err.startswith(f"left out: cannot read image {photos / 'a.png'}") and err.count("\n") == 1
    )
    assert sorted(p.name for p in out.rglob("*.png")) == ["b.png", "clear.png"]
    truncate(photos / "sub" / "clear.png")
    truncate(photos / "sub" / "deep" / "b.jpg")
    says = ["none of the 3 images can be read", "a.png"]
    refuse(capsys, *given, "--overwrite", says=says, keeps=out)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_one_file(
    capsys: pytest.CaptureFixture,
    command: list[str],
    loaded: Run,
    tmp_path: Path,
    suffix: str,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source, out = tmp_path / "in.jpg", tmp_path / f"out{suffix}"
    Image.fromarray(photo(20, 31)).save(source, exif=exif, quality=95)
    given = [*command, f"--input={source}", f"--output={out}", "--name=sharpen"]
    succeed(capsys, *given)
    with Image.open(out) as image:
        assert image.size == (20, 31) and 0x0112 not in image.getexif()
        assert image.format == {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    expected = to_uint8(loaded.transform(source, "sharpen"))
    far = np.abs(read_image(out).astype(int) - expected)
    assert far.mean() < (6 if suffix in (".jpg", ".webp") else 1e-3)
    refuse(capsys, *given, says=[f"{out} is there", "--overwrite"], keeps=tmp_path)
    succeed(capsys, *given, "--overwrite")
    same = [*command, f"--input={source}", f"--output={source}", "--overwrite"]
    refuse(capsys, *same, says=["is the input"], keeps=tmp_path)
    (tmp_path / "dir.png").mkdir()
    succeed(capsys, *command, f"--input={source}", f"--output={tmp_path / 'dir.png'}")
    assert (tmp_path / "dir.png" / "in.png").is_file()


def test_sixteen_bits(
    capsys: pytest.CaptureFixture, command: list[str], loaded: Run, tmp_path: Path
) -> None:
    pytest.importorskip("png")
    pytest.importorskip("tifffile")
    deep = photo(20, 31).astype(np.uint16) * 129
    for source in ("in.png", "in.tif"):
        write_photo(tmp_path / source, Photo(deep, deep[..., 0]))
        for suffix in (".png", ".tif"):
            out = tmp_path / f"{source}{suffix}"
            given = [f"--input={tmp_path / source}", f"--output={out}", "--name=sharpen"]
            succeed(capsys, *command, *given, "--bits=16")
            made = read_photo(out, 3, bits=16)
            floats = loaded.transform(deep.astype(np.float32) / 32767.5 - 1, "sharpen")
            assert np.abs(made.pixels / 32767.5 - 1 - floats).max() < 2e-4
            np.testing.assert_array_equal(made.alpha, deep[..., 0])
    for more, says in (
        ([f"--output={tmp_path / 'x.jpg'}", "--name=sharpen"], ["JPEG has 8"]),
        ([f"--output={tmp_path / 'x.png'}", "--name=fixed"], ["--bits=16", "8 bits"]),
    ):
        source = f"--input={tmp_path / 'in.png'}"
        refuse(capsys, *command, source, *more, "--bits=16", says=says, keeps=tmp_path)


def test_size_tiles_and_targets(
    capsys: pytest.CaptureFixture, command: list[str], photos: Path, tmp_path: Path
) -> None:
    given = [*command, f"--input={photos}", "--name=sharpen"]
    targets = make_images(tmp_path / "targets", ["a.jpg", "sub/clear.png"], (5, 5))
    more = ["--size=30,40", "--tile=16", "--compare", f"--target={targets}"]
    said = succeed(capsys, *given, f"--output={tmp_path / 'out'}", *more)
    assert f"{targets} has no target of 1: sub/deep/b.jpg" in said
    for name, panels in (("a", 3), ("sub/clear", 3), ("sub/deep/b", 2)):
        assert read_image(tmp_path / "out" / f"{name}.png").shape[:2] == (30, 40)
        sheet = read_image(tmp_path / "out" / f"{name}.compare.png")
        assert sheet.shape == (30, panels * 40 + (panels - 1) * 8, 3)


def test_masks(
    capsys: pytest.CaptureFixture, command: list[str], photos: Path, tmp_path: Path
) -> None:
    fill = [*command, f"--input={photos}", f"--output={tmp_path / 'out'}", "--name=fill"]
    masks = tmp_path / "masks"
    for name, (height, width) in (
        ("a", (20, 31)),
        ("sub/deep/b", (41, 9)),
        ("sub/clear", (12, 14)),
    ):
        white = np.zeros((height, width, 1), np.uint8)
        white[2:5, 3:7] = 255
        write_photo(masks / f"{name}.png", Photo(white))
    succeed(capsys, *fill, f"--mask={masks}", "--compare")
    made = to_float(read_image(tmp_path / "out" / "a.png"))
    np.testing.assert_allclose(made[2:5, 3:7], 0.5, atol=0.01)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png")[6:], photo(20, 31)[6:])
    one = [*command, f"--input={photos / 'a.png'}", f"--output={tmp_path / 'x.png'}", "--name=fill"]
    succeed(capsys, *one, f"--mask={masks / 'a.png'}")
    wrong = masks / "sub" / "clear.png"
    refuse(capsys, *one, "--overwrite", f"--mask={wrong}", says=["12x14", "20x31"], keeps=tmp_path)
    refuse(capsys, *one, "--overwrite", says=["'fill' needs a mask", "--mask"], keeps=tmp_path)
    wrong.unlink()
    fill = [*fill, "--overwrite"]
    says = [f"--mask={masks} has no file for 1 images (sub/clear.png)"]
    refuse(capsys, *fill, f"--mask={masks}", says=says, keeps=tmp_path)
    says = ["is one file and the input a folder"]
    refuse(capsys, *fill, f"--mask={masks / 'a.png'}", says=says, keeps=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--name=back"], ["'back' is not known", "sharpen, wide, double"]),
        (["--name=sharpen", "--mask=a.png"], ["takes no mask"]),
        (["--name=normalise", "--tile=64"], ["--tile=64", "--tile=approximate"]),
        (["--name=sharpen", "--size=9"], ["--size=9", "--size=480,640"]),
        (["--name=sharpen", "--target=in"], ["add --compare"]),
        (["--name=sharpen", "--bits=12"], ["--bits", "12"]),
        (["--name=sharpen", "--config.data.on_error=skip"], ["takes no --config.data.on_error"]),
    ],
)
def test_arguments_that_do_not_fit(
    capsys: pytest.CaptureFixture,
    command: list[str],
    photos: Path,
    tmp_path: Path,
    arguments: list[str],
    says: list[str],
) -> None:
    given = [*command, f"--input={photos}", f"--output={tmp_path / 'out'}"]
    refuse(capsys, *given, *arguments, says=says, keeps=tmp_path)


def test_a_line_now_and_then(
    capsys: pytest.CaptureFixture, command: list[str], tmp_path: Path
) -> None:
    folder = make_images(tmp_path / "in", [f"{i}.png" for i in range(23)])
    given = [*command, f"--input={folder}", f"--output={tmp_path / 'out'}", "--name=noise"]
    lines = [x for x in succeed(capsys, *given).splitlines() if x.startswith("transformed ")]
    assert lines[-1] == "transformed 23 of 23" and 5 < len(lines) <= 10


MEMORY = """
import resource, sys
from pathlib import Path
import gan_jax
from convolutions import convolutions_of
from gan_jax.library import photo_files
run = convolutions_of(gan_jax.load(sys.argv[1]))
photo_files.load = lambda *given, **named: run
photo_files.transform(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), name="wide")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_memory_of_a_photo_of_twelve_megapixels(
    trained: Callable[..., Trained], tmp_path: Path
) -> None:
    draw = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    write_photo(tmp_path / "in.jpg", Photo(draw))
    files = [str(trained("vae").workdir), str(tmp_path / "in.jpg"), str(tmp_path / "out.png")]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *files],
        env={**os.environ, "PYTHONPATH": path, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 2, "GiB"
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (4000, 3000)


def test_predictions(
    capsys: pytest.CaptureFixture, trained: Callable[..., Trained], photos: Path, tmp_path: Path
) -> None:
    run = trained("classifier").workdir
    truncate(photos / "a.png")
    out = tmp_path / "out.csv"
    given = ["--mode=predict", f"--workdir={run}", f"--input={photos}", f"--output={out}"]
    capsys.readouterr()
    assert main.main(given) == 1
    said, err = capsys.readouterr()
    assert f"wrote the table {out}" in said and err.startswith("left out: cannot read image")
    rows = list(csv.DictReader(out.open()))
    assert [row["file"] for row in rows] == ["sub/clear.png", "sub/deep/b.jpg"]
    loaded = gan_jax.load(run)
    expected = loaded.predict([photos / row["file"] for row in rows])
    assert expected.shape == (2, 10)
    np.testing.assert_allclose(expected.sum(1), 1, atol=1e-5)
    outputs = loaded.encode([photos / row["file"] for row in rows])["outputs"]
    for row, chances, logits in zip(rows, expected, outputs, strict=True):
        best = np.argsort(-chances)[:5]
        np.testing.assert_array_equal(best, np.argsort(-logits)[:5])
        marks = ["", "_2", "_3", "_4", "_5"]
        assert [row[f"class{mark}"] for mark in marks] == [loaded.spec.class_names[k] for k in best]
        told = [float(row[f"probability{mark}"]) for mark in marks]
        np.testing.assert_allclose(told, chances[best], atol=1e-6)
    np.testing.assert_allclose(loaded.predict(photos / rows[0]["file"]), expected[0], atol=1e-5)
    refuse(capsys, *given, says=[f"{out} is there", "--overwrite"], keeps=tmp_path)
    before = snapshot(out)
    (photos / "a.png").unlink()
    succeed(capsys, *given, "--overwrite")
    assert snapshot(out) == before


def test_only_classifiers_predict(
    capsys: pytest.CaptureFixture, gan: Path, flat: Path, tmp_path: Path
) -> None:
    given = ["--mode=predict", f"--workdir={gan}"]
    says = ["cannot predict", "it can generate"]
    refuse(
        capsys,
        *given,
        f"--input={flat}",
        f"--output={tmp_path / 'x.csv'}",
        says=says,
        keeps=tmp_path,
    )
    refuse(capsys, *given, says=["--mode=predict needs --input=DIR"], keeps=tmp_path)
    code = main.main([*given, f"--input={flat}", "--labels=1"])
    check_error(code, capsys.readouterr().err, ["--mode=predict takes no --labels"])
