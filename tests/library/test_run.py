"""A run in Python: `gan_jax.load`, and the arguments and results of its methods."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained
from PIL import Image

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.core.images import to_uint8
from gan_jax.core.state import count_parameters
from gan_jax.evaluation.evaluate import evaluate
from gan_jax.library.summary import last_grid
from gan_jax.rundir.writer import read_metrics


def test_labels_choose_the_class(run_of: Callable[[str], Trained]) -> None:
    run = gan_jax.load(run_of("dcgan").workdir)
    images = [run.sample(2, seed=1, labels=label) for label in (3, [3, 3], [3, 4])]
    np.testing.assert_array_equal(images[0], images[1])
    assert run.spec.class_names[3] == "3"  # labels may also be names
    np.testing.assert_array_equal(images[2], run.sample(2, seed=1, labels=["3", 4]))
    np.testing.assert_array_equal(images[0][0], images[2][0])
    assert np.abs(images[0][1] - images[2][1]).max() > 1e-6


def test_python(run_of: Callable[[str], Trained]) -> None:
    run = gan_jax.load(str(run_of("vae").workdir), checkpoint="latest")
    images = run.sample(3, seed=1)
    assert images.shape == (3, 16, 16, 1) and images.dtype == np.float32
    assert np.abs(images).max() <= 1
    np.testing.assert_allclose(run.sample(9, seed=1)[:3], images, atol=1e-5)
    raw, ema = (run.sample(3, seed=1, weights=w) for w in ("raw", "ema"))
    np.testing.assert_array_equal(ema, images)
    assert np.abs(raw - ema).max() > 1e-6
    stored = np.random.default_rng(0).integers(0, 256, (3, 30, 20, 3), np.uint8)
    made = run.transform(stored)
    assert made.shape == images.shape
    np.testing.assert_allclose(run.transform(stored[:1]), made[:1], atol=1e-5)
    # Floats are passed to the model unchanged.
    np.testing.assert_allclose(run.transform(images.astype(np.float64)), run.transform(images))
    exact = np.stack([np.asarray(Image.fromarray(x[..., 0])) for x in to_uint8(images)])[..., None]
    assert np.abs(run.transform(exact) - run.transform(images)).max() < 0.05
    assert run.encode(stored).shape == run.encode(images).shape == (3, 4)
    for bad, says in (
        (np.zeros((3, 8, 8, 1), np.float32), "takes .16, 16, 1.; give uint8"),
        (np.zeros((8, 8, 2), np.uint8), "height, width, channels"),
        (np.zeros((2, 2, 8, 8, 1), np.uint8), "height, width, channels"),
        (np.zeros((0, 16, 16, 1), np.uint8), "N >= 1"),
    ):
        with pytest.raises(UserError, match=says):
            run.transform(bad)
    np.testing.assert_allclose(run.transform(stored[0]), made[0], atol=1e-5)  # one alone
    np.testing.assert_allclose(run.encode(stored[0]), run.encode(stored)[0], atol=1e-5)
    wrong_floats(run)
    photos_of_unlike_sizes(run)
    with pytest.raises(UserError, match="num=0"):
        run.sample(0)
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        run.sample(1, temprature=1)


def wrong_floats(run: gan_jax.library.run.Run) -> None:
    """Floats outside the range are refused, and a suspicious range gives a warning."""
    shares = np.random.default_rng(1).uniform(0, 1, (2, 16, 16, 1))
    for bad, says in (
        (shares * 255, "in .*, 25.*floats are in .-1, 1.; give them as uint8"),
        (shares * 4 - 2, "floats are in .-1, 1.; map them there"),
        (np.where(shares > 0.5, np.nan, shares), "nan"),
        (np.uint16(shares * 255), "images of uint16: uint8"),
        (np.int64(shares * 255), "images of int64: uint8"),
    ):
        for method in (run.transform, run.encode):
            with pytest.raises(UserError, match=says):
                method(bad)


def test_floats_without_a_negative_value_are_doubted(
    run_of: Callable[[str], Trained], caplog: pytest.LogCaptureFixture
) -> None:
    run = gan_jax.load(run_of("vae").workdir)
    shares = np.random.default_rng(1).uniform(0, 1, (2, 16, 16, 1))
    run.encode(shares * 2 - 1)
    assert not caplog.messages
    run.encode(shares)
    assert len(caplog.messages) == 1 and "2 * images - 1" in caplog.messages[0]


def photos_of_unlike_sizes(run: gan_jax.library.run.Run) -> None:
    """A list of arrays or Pillow images gives the same as each alone, also grey or with alpha."""
    draw = np.random.default_rng(2)
    shapes = ((30, 20, 3), (9, 40), (16, 16, 1), (12, 8, 4))
    photos = [draw.integers(0, 256, shape, np.uint8) for shape in shapes]
    made = run.transform(photos)
    for i, photo in enumerate(photos):
        alone = run.transform((photo[..., None] if photo.ndim == 2 else photo)[None])
        np.testing.assert_allclose(made[i], alone[0], atol=1e-5)
    pictures = [Image.fromarray(photos[0]), Image.fromarray(photos[1])]
    np.testing.assert_allclose(run.transform(pictures), made[:2], atol=1e-5)
    for bad, says in (
        ([photos[0], np.zeros((4, 4, 2), np.uint8)], r"image 1 has shape \(4, 4, 2\)"),
        ([photos[0], np.zeros((16, 16, 1), np.float32)], "images of float32, uint8"),
        ([np.zeros((16, 16, 1)), np.zeros((8, 8, 1))], r"float images of shape \(8, 8, 1\)"),
        ([], "N >= 1"),
        (["photo.png"], r"cannot read image photo\.png"),
        ([None], r"image 0 has shape \(\)"),
    ):
        with pytest.raises(UserError, match=says):
            run.transform(bad)


def test_printed(run_of: Callable[[str], Trained], tmp_path: Path) -> None:
    run = gan_jax.load(run_of("vae").workdir, checkpoint="latest")
    sizes = {n: count_parameters(net.params) for n, net in run.state.nets.items()}
    assert repr(run).splitlines() == [
        "Run: vae (conv) on synthetic, 16x16x1, 10 classes",
        "  step 2 of 2, seed 0",
        f"  parameters: encoder {sizes['encoder']:,}, decoder {sizes['decoder']:,}",
        f"  {run.workdir}",
    ]
    assert str(run) == f"{run}" == repr(run)
    page = run._repr_html_()
    picture = (run.workdir / "samples" / "0000002_samples.png").read_bytes()
    assert page.startswith("<pre>Run: vae") and base64.b64encode(picture).decode() in page
    before = dataclasses.replace(run, step=1, workdir=tmp_path / "<none>")
    assert "<img" not in before._repr_html_() and "&lt;none&gt;" in before._repr_html_()
    assert last_grid(run.workdir, 1) is None, "of a step that the checkpoint has not seen"


def test_seeds(run_of: Callable[[str], Trained]) -> None:
    run = gan_jax.load(run_of("vae").workdir)
    images = np.zeros((1, 16, 16, 1), np.float32)
    for use in (
        lambda: run.sample(1, seed=-1),
        lambda: run.sample_labelled(1, seed=2**32),
        lambda: run.transform(images, seed=-1),
        lambda: run.encode(images, seed=0.5),
        lambda: evaluate(run.workdir, seed=-1),
    ):
        with pytest.raises(UserError, match=r"seed=.*: a whole number in \[0, 2\^32\)"):
            use()


def test_classifier_encodes(run_of: Callable[[str], Trained]) -> None:
    run = gan_jax.load(run_of("classifier").workdir)
    latents = run.encode(np.zeros((2, 30, 20), np.uint8)[..., None])
    assert latents["outputs"].shape == (2, 10) and latents["features"].shape[0] == 2
    with pytest.raises(UserError, match="cannot generate"):
        run.sample(1)


@pytest.mark.parametrize("checkpoint", ["", "best", "1", 1])
def test_checkpoint(run_of: Callable[[str], Trained], checkpoint: str | int) -> None:
    run = run_of("classifier").workdir  # it selects a best checkpoint
    found = {m["step"]: m["eval/accuracy"] for m in read_metrics(run) if "eval/accuracy" in m}
    best = max(found, key=lambda step: (found[step], step))
    step = gan_jax.load(run, checkpoint=checkpoint).step
    assert step == (1 if checkpoint in ("1", 1) else best) or found[1] == found[2]


def test_noise_of_a_translator(run_of: Callable[[str], Trained]) -> None:
    run = gan_jax.load(run_of("pix2pix").workdir)
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 1), np.uint8)
    noisy = [run.transform(images, seed=seed) for seed in (0, 1)]
    quiet = [run.transform(images, seed=seed, dropout=False) for seed in (0, 1)]
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-6
    np.testing.assert_array_equal(*quiet)
