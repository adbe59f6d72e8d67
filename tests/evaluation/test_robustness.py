"""Accuracy of a discriminator on corrupted images: against definitions and from the CLI."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from commands import refuse, succeed
from conftest import Trained

import gan_jax
from gan_jax.data import open_data
from gan_jax.evaluation import robustness as module
from gan_jax.evaluation.robustness import best_threshold, robustness
from gan_jax.library.run import Run

CHANGES = ["clean", "rounded", "noise0.05", "noise0.1", "noise0.2", "noise0.4"]
CHANGES += ["blur0.5", "blur1", "blur2", "jpeg90", "jpeg50", "jpeg10"]
CHANGES += ["pgd0.003", "pgd0.01", "pgd0.03", "pgd0.1"]


def changed(run: Run, **members: Any) -> Run:
    return dataclasses.replace(run, task=dataclasses.replace(run.task, **members))


def halves(run: Run, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return real images, generated ones and labels: measured images first, then the others."""
    split = open_data(run.config.data).splits["eval"]
    order = np.random.Generator(np.random.Philox(0)).permutation(len(split))[: 2 * num]
    real = split.get(order)
    return real["image"], run.sample(2 * num, seed=seed, labels=real["label"]), real["label"]


def test_threshold() -> None:
    assert best_threshold(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0])) == 0.5
    assert np.isinf(best_threshold(np.array([0.0]), np.array([1.0])))
    draw = np.random.default_rng(0)
    for _ in range(20):
        real, fake = draw.integers(0, 9, 7) + 2.0, draw.integers(0, 9, 5) + 0.0

        def balanced(threshold: float, real: Any = real, fake: Any = fake) -> float:
            return (real > threshold).mean() + (fake <= threshold).mean()

        best = max(balanced(t) for t in np.arange(-1, 12, 0.5))
        assert balanced(best_threshold(real, fake)) == best


def test_the_command(
    capsys: pytest.CaptureFixture, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEPS", 2)
    command = ["--mode=eval", f"--workdir={copied}", "--metrics=robustness", "--seed=3"]
    out = succeed(capsys, *command)
    found = json.loads((copied / "eval" / "2.json").read_text())
    ends = ["", "_real", "_fake"]
    assert set(found) == {f"robust_{name}{end}/pgd2/eval/8" for name in CHANGES for end in ends}
    assert "robust_blur0.5/pgd2/eval/8" in out
    about = json.loads((copied / "eval" / "2.about.json").read_text())
    assert about["robust_clean/pgd2/eval/8"]["seed"] == 3
    run = gan_jax.load(copied)
    real, fake, labels = halves(run, 8, seed=3)
    real, fake = (np.asarray(run.task.judge(run.state, x, labels)) for x in (real, fake))
    threshold = best_threshold(real[8:], fake[8:])
    shares = (real[:8] > threshold).mean(), (fake[:8] <= threshold).mean()
    assert found["robust_clean_real/pgd2/eval/8"] == shares[0]
    assert found["robust_clean_fake/pgd2/eval/8"] == shares[1]
    assert found["robust_clean/pgd2/eval/8"] == sum(shares) / 2
    first = (copied / "eval" / "2.json").read_bytes()
    succeed(capsys, *command)
    assert (copied / "eval" / "2.json").read_bytes() == first, "it depends on more than the seed"
    succeed(capsys, *command, "--num=4", "--split=train", "--truncation=0.5")
    found = json.loads((copied / "eval" / "2.json").read_text())
    assert "robust_pgd0.1/pgd2/train/4/truncation=0.5" in found
    table = succeed(
        capsys, "--mode=report", f"--workdir={copied}", "--metrics=robust_clean,robust_jpeg50"
    )
    assert "| run | seeds | step | robust_clean | robust_jpeg50 |" in table


def test_a_linear_discriminator(gan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result of PGD is known in closed form, and radius 0 changes nothing."""
    monkeypatch.setattr(module, "RADII", (0.0, 0.02, 0.2))
    run = gan_jax.load(gan)
    w = np.random.default_rng(0).normal(size=run.spec.image_shape).astype(np.float32)

    def logits(x: Any) -> Any:
        return (x * w).sum((1, 2, 3))

    linear = changed(run, judge=lambda state, images, labels: logits(images))
    found = robustness(linear, seed=5)
    real, fake, _ = halves(run, 8, seed=5)
    threshold = best_threshold(logits(real[8:]), logits(fake[8:]))
    for radius in (0.0, 0.02, 0.2):
        attacked = [
            np.clip(x[:8] + by * np.sign(w), -1, 1) for x, by in ((real, -radius), (fake, radius))
        ]
        shares = (logits(attacked[0]) > threshold).mean(), (logits(attacked[1]) <= threshold).mean()
        assert found[f"robust_pgd{radius:g}/pgd20/eval/8"] == pytest.approx(sum(shares) / 2)
    for end in ("", "_real", "_fake"):
        assert found[f"robust_pgd0{end}/pgd20/eval/8"] == found[f"robust_clean{end}/pgd20/eval/8"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sngan", "biggan", "progan", "gan", "wgan_gp", "improved_gan"])
def test_every_gan(
    trained: Callable[..., Trained], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEPS", 2)
    monkeypatch.setattr(module, "RADII", (0.0, 0.3))
    run = gan_jax.load(trained(name).workdir)
    found = robustness(run, num=6)
    assert found["robust_pgd0/pgd2/eval/6"] == found["robust_clean/pgd2/eval/6"]
    assert all(0 <= value <= 1 for value in found.values())


def test_mistakes(
    capsys: pytest.CaptureFixture, gan: Path, run_of: Callable[[str], Trained], tmp_path: Path
) -> None:
    asked = ["--mode=eval", "--metrics=robustness"]
    refuse(
        capsys,
        *(*asked, f"--workdir={gan}", "--num=9"),
        says=["9 images a side", "split eval has 16", "--num=8 or less"],
        keeps=gan,
    )
    vae = run_of("vae").workdir
    refuse(capsys, *asked, f"--workdir={vae}", says=["no such metric", "'vae'"], keeps=vae)
    both = ["--config.eval.every=1", "--config.eval.metrics=robustness"]
    says = ["eval.metrics=robustness", "during a training"]
    config = "--config=configs/dcgan.py:smoke"
    refuse(
        capsys, config, f"--workdir={tmp_path / 'run'}", *both, says=says, keeps=tmp_path / "run"
    )
    run = gan_jax.load(gan)
    wide = dataclasses.replace(run.spec.streams["image"], shape=(16, 16, 4))
    clear = dataclasses.replace(run, spec=dataclasses.replace(run.spec, streams={"image": wide}))
    with pytest.raises(gan_jax.core.errors.UserError, match=r"4 channels.*data\.channels=3"):
        robustness(clear)
    broken = changed(run, judge=lambda state, images, labels: jnp.full(len(images), jnp.nan))
    with pytest.raises(gan_jax.core.errors.UserError, match=r"says nan.*--checkpoint"):
        robustness(broken)
