"""Fits after training: for one checkpoint, stored in the run, and used when it is loaded."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from commands import refuse, succeed
from conftest import Trained

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.core.state import FITTED
from gan_jax.methods.vae.autoencoder import latent_moments


def test_moments() -> None:
    draw = np.random.default_rng(0)
    mean, factor = np.array([1.0, -2.0]), np.array([[2.0, 0.0], [0.5, 0.1]])
    latents = mean + draw.normal(size=(20_000, 2)) @ factor.T
    labels = np.arange(20_000) % 2
    latents[labels == 1] += 3.0
    found = latent_moments({"latents": latents, "label": labels}, classes=2)
    np.testing.assert_allclose(found["class_means"], [mean, mean + 3], atol=0.05)
    np.testing.assert_allclose(found["mean"], mean + 1.5, atol=0.05)
    expected = factor @ factor.T + 2.25
    np.testing.assert_allclose(found["factor"] @ found["factor"].T, expected, rtol=0.05)
    assert found["factor"][0, 1] == 0
    still = latent_moments({"latents": np.ones((5, 2))}, classes=0)  # a constant latent
    assert set(still) == {"mean", "factor"} and np.abs(still["factor"]).max() < 1e-4


def test_of_a_run(
    capsys: pytest.CaptureFixture,
    run_of: Callable[[str], Trained],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    workdir = Path(shutil.copytree(run_of("vae").workdir, tmp_path / "run"))
    known, out = f"--workdir={workdir}", f"--output={tmp_path / 'out'}"
    sample = ["--mode=sample", known, "--num=4", "--checkpoint=2", "--prior=fitted", out]
    refuse(capsys, *sample, says=["--mode=fit", "none of this checkpoint"], keeps=workdir)
    says = ["fit of task 'vae'='mixture'", "latents"]
    refuse(capsys, "--mode=fit", known, "--name=mixture", says=says, keeps=workdir)
    before = gan_jax.load(workdir, checkpoint=2)
    said = succeed(capsys, "--mode=fit", known, "--checkpoint=2")
    assert "fitted latents of checkpoint 2" in said and str(workdir / "fitted") in said
    succeed(capsys, *sample)
    run = gan_jax.load(workdir, checkpoint=2)
    moments = jax.device_get(run.state.buffers[FITTED]["latents"])
    # They are computed from posterior draws of the training images.
    split = run.dataset.splits["train"]
    means = run.encode(split.get(np.arange(len(split)))["image"])
    assert np.abs(moments["mean"] - means.mean(0)).max() < 4 / np.sqrt(len(split))
    made = run.sample(3, prior="fitted")
    latents = run.task.latents(jax.random.split(jax.random.key(0), 3))  # draws from the prior
    moved = moments["mean"] + latents @ moments["factor"].T
    options = run.task.check_options({})
    decoded = run.task.generate(run.state, moved, **options)
    fitted = run.task.generate(run.state, latents, **{**options, "prior": "fitted"})
    np.testing.assert_allclose(fitted, decoded, atol=1e-5)
    assert np.abs(made - before.sample(3)).max() > 0
    np.testing.assert_array_equal(run.sample(3), before.sample(3))  # the prior is unchanged
    # A class shifts every latent by the same vector.
    images = split.get(np.arange(3))["image"]
    toward = run.transform(images, "toward", labels=[2])
    shift = moments["class_means"][2] - moments["mean"]
    expected = run.task.generate(run.state, run.encode(images) + shift, **options)
    np.testing.assert_allclose(toward, expected, atol=1e-5)
    with pytest.raises(UserError, match="takes the class of each result"):
        run.transform(images, "toward")
    # For another checkpoint, or if damaged, it is not loaded.
    assert FITTED not in gan_jax.load(workdir, checkpoint=1).state.buffers
    chex.assert_trees_all_equal(before.fit().state.buffers[FITTED]["latents"], moments)
    file = workdir / "fitted" / "latents.npz"
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert FITTED not in gan_jax.load(workdir, checkpoint=2).state.buffers
    assert "latents.npz is left out" in caplog.text and "--mode=fit again" in caplog.text


def test_a_task_without_fits(capsys: pytest.CaptureFixture, run_of: Callable) -> None:
    workdir = run_of("classifier").workdir
    says = ["task 'classifier' has nothing to fit"]
    refuse(capsys, "--mode=fit", f"--workdir={workdir}", says=says, keeps=workdir)
