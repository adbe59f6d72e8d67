"""Rejection sampling: exact for exact discriminators, calibrated for others, per image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import refuse, succeed
from conftest import smoke_config
from scipy import stats

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.core.images import to_uint8
from gan_jax.core.task import Task
from gan_jax.data import open_data
from gan_jax.data.dataset import array_split
from gan_jax.evaluation.image_statistics import IMAGES
from gan_jax.evaluation.passes import FeatureProbe, sample_pass
from gan_jax.evaluation.paths import perceptual_path_length
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import make_parallel
from gan_jax.sampling import rejection
from gan_jax.sampling.rejection import burnt_in, fit_log_odds, keep, trial_keys

SPREAD = 2.0  # of the generator, N(0, SPREAD^2); real are two normals of deviation 0.5
CENTRES = (-1.5, 1.0)
SHARES = (0.3, 0.7)


def log_odds(x: jax.Array) -> jax.Array:
    """Return log p(x) / q(x) of real to generated."""
    parts = [
        jnp.log(share) + jax.scipy.stats.norm.logpdf(x, centre, 0.5)
        for share, centre in zip(SHARES, CENTRES, strict=True)
    ]
    return jnp.logaddexp(*parts) - jax.scipy.stats.norm.logpdf(x, 0.0, SPREAD)


def real_cdf(x: np.ndarray) -> np.ndarray:
    parts = zip(SHARES, CENTRES, strict=True)
    return sum(share * stats.norm.cdf(x, centre, 0.5) for share, centre in parts)


def toy(logits: Callable[[jax.Array], jax.Array] = log_odds) -> Task:
    """Return a task whose generator samples a known density, and whose judge has its log odds."""
    like = jax.ShapeDtypeStruct((), jnp.float32)
    return Task(
        name="toy",
        modules={},
        example_inputs={},
        phase=lambda step: None,
        init=lambda key: like,
        train_step=lambda *_: None,
        eval_step=lambda *_: {},
        eval_metrics=lambda sums: {},
        latents=lambda keys, labels, **_: (jax.vmap(lambda k: jax.random.normal(k, (1,)))(keys),),
        generate=lambda state, latents, **_: SPREAD * latents[0],
        judge=lambda state, images, labels: logits(images[:, 0]),
        check_odds=lambda how: None,
        options=rejection.OPTIONS,
    )


def kept_numbers(task: Task, num: int, how: str, percentile: float, **more: Any) -> np.ndarray:
    """Return the accepted samples of a request of `num`."""
    options = dict(rejection=how, percentile=percentile)
    key = jax.random.key(3)
    given = dict(parallel=make_parallel(devices=1), batch_size=4096, labels=None) | more
    kept = keep(task, jnp.zeros(()), key=key, num=num, options=options, **given)
    keys = trial_keys(key, jnp.arange(num), jnp.asarray(kept.trials))
    return np.asarray(task.generate(None, task.latents(keys, None)))[:, 0]


def real_split(number: int) -> Any:
    draw = np.random.default_rng(0)
    x = draw.normal(np.asarray(CENTRES)[draw.choice(2, number, p=SHARES)], 0.5)
    return array_split({"image": x.astype(np.float32)[:, None]})


def test_the_samples_are_real_where_the_discriminator_is_exact() -> None:
    """Kolmogorov-Smirnov against the real density, 5,000 samples: not told apart at 5 %."""
    exact = kept_numbers(toy(), 5000, "raw", 0)
    assert stats.kstest(exact, real_cdf).pvalue > 0.05
    plain = SPREAD * np.random.default_rng(0).normal(size=5000)
    assert stats.kstest(plain, real_cdf).pvalue < 1e-20  # what is not rejected
    # With gamma at a percentile more are kept, and the density is nearer the real one than before.
    bent = kept_numbers(toy(), 5000, "raw", 80.0)
    distances = [stats.kstest(x, real_cdf).statistic for x in (exact, bent, plain)]
    assert distances == sorted(distances)


def test_calibration_undoes_a_line() -> None:
    """Logits that are log odds times 0.4 plus 1: only calibrated do they give the real density."""
    task = toy(lambda x: 0.4 * log_odds(x) + 1)
    real = real_split(20_000)
    held_out = lambda: real  # noqa: E731
    exact = kept_numbers(task, 5000, "calibrated", 0, held_out=held_out)
    # The fitted line is off by some per cent: twice the distance at which 5,000 are told apart.
    assert stats.kstest(exact, real_cdf).statistic < 2 * 1.36 / np.sqrt(5000)
    raw = kept_numbers(task, 5000, "raw", 0)
    assert stats.kstest(raw, real_cdf).statistic > 0.1


def test_logistic_regression_against_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(1)
    real, fake = draw.normal(3, 2, 400), draw.normal(1, 1.5, 900)
    x = np.concatenate([real, fake])[:, None]
    y = np.repeat([1, 0], [400, 900])
    model = LogisticRegression(C=1e8, class_weight="balanced", tol=1e-10).fit(x, y)
    expected = (model.coef_[0, 0], model.intercept_[0])
    np.testing.assert_allclose(fit_log_odds(real, fake), expected, rtol=2e-3)
    # Sides that a threshold parts have no largest likelihood: the slope stays finite.
    slope, _ = fit_log_odds(np.arange(5.0) + 10, -np.arange(5.0))
    assert 0 < slope < 1e3
    with pytest.raises(UserError, match="does not mean more real"):
        fit_log_odds(fake, real)


def test_the_probability_is_the_ratio_to_the_largest() -> None:
    logits = np.array([-3.0, 0.0, 1.0, 2.0])
    chance = burnt_in(logits, 1.0, 0.0, 0)
    np.testing.assert_allclose(chance.probability(logits[:3]), np.exp(logits[:3] - 2), rtol=1e-5)
    assert chance.probability(np.array([2.0, 9.0])).min() > 0.99
    # An image at the percentile is kept half the time.
    many = np.random.default_rng(0).normal(size=10_001)
    chance = burnt_in(many, 2.0, 1.0, 75.0)
    np.testing.assert_allclose(chance.probability(np.quantile(many, [0.75])), 0.5, atol=1e-6)


def test_an_image_depends_on_its_place_only() -> None:
    common = dict(how="raw", percentile=0)
    many = kept_numbers(toy(), 200, **common)
    np.testing.assert_array_equal(many[:50], kept_numbers(toy(), 50, **common))
    few = kept_numbers(toy(), 200, **common, batch_size=64)
    np.testing.assert_array_equal(many, few)
    spread = kept_numbers(toy(), 200, **common, parallel=make_parallel(devices=8))
    np.testing.assert_allclose(many, spread, rtol=1e-6)
    keys = trial_keys(jax.random.key(0), jnp.arange(50), jnp.zeros(50, jnp.int32))
    plain = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(50))
    assert (jax.random.key_data(keys) == jax.random.key_data(plain)).all()


def test_an_image_that_is_never_kept_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "TRIALS", 20)
    task = toy(lambda x: 1e4 * x)
    with pytest.raises(UserError, match=r"rejected 20 times.*--percentile"):
        kept_numbers(task, 10, "raw", 0)


def test_sampling_and_evaluation_keep_the_same_images(
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    copied: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(rejection, "BURN_IN", 64)
    run = gan_jax.load(copied)
    plain = run.sample(12, seed=1)
    kept = run.sample(12, seed=1, rejection="raw")
    assert "rejection kept" in caplog.text
    np.testing.assert_array_equal(kept, run.sample(12, seed=1, rejection="raw"))
    same = [np.array_equal(a, b) for a, b in zip(plain, kept, strict=True)]
    assert 0 < sum(same) < 12  # some first trials were kept, as plain sampling has them
    paths = run.interpolate(2, steps=2, seed=1, rejection="raw")
    np.testing.assert_allclose(paths.reshape(4, *plain.shape[1:]), kept[:4], atol=1e-5)
    out = tmp_path / "out"
    succeed(
        capsys,
        "--mode=sample",
        f"--workdir={copied}",
        f"--output={out}",
        "--num=3",
        "--rejection=raw",
        "--percentile=60",
    )
    assert len(list(out.glob("0*.png"))) == 3
    # At evaluation image i is that of sampling with class i modulo 10, and the protocol says it.
    options = run.task.check_options(dict(rejection="raw"))
    key = jax.random.key(1)
    labels = lambda place: (place % 10).astype(np.int32)  # noqa: E731
    common = dict(parallel=run.parallel, batch_size=8, options=options)
    trials = keep(run.task, run.state, key=key, num=12, labels=labels, **common).trials
    probe = FeatureProbe(None, frozenset({IMAGES}))
    side = sample_pass(probe, run.task, 10, **common)(run.state, key, 12, trials)
    kept = run.sample(12, seed=1, labels=range(10), rejection="raw")
    assert np.abs(side.images.astype(int) - to_uint8(kept)).max() <= 1
    seen = {}

    def fit(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
        seen.update(real=len(real), fake=len(fake))
        return 1.0, 0.0

    monkeypatch.setattr(rejection, "fit_log_odds", fit)
    command = ["--mode=eval", f"--workdir={copied}", "--metrics=ms_ssim", "--num=20"]
    out = succeed(capsys, *command, "--rejection=calibrated")
    assert "/20/rejection=calibrated" in out and "note: rejection kept" in out
    assert seen == {"real": run.spec.counts["eval"], "fake": 64}


def test_what_cannot_be_rejected(capsys: pytest.CaptureFixture, gan: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for arguments, says in (
        (["--percentile=50"], ["--percentile=50", "--rejection=raw"]),
        (["--rejection=raw", "--percentile=101"], ["percentile=101", "100"]),
        (["--rejection=some"], ["'some'", "none, raw, calibrated"]),
    ):
        command = ["--mode=sample", f"--workdir={gan}", f"--output={output}", "--num=1"]
        refuse(capsys, *command, *arguments, says=says, keeps=output)
    with pytest.raises(UserError, match="ppl with --rejection=raw"):
        perceptual_path_length(
            gan_jax.load(gan), lambda a, b: a, distance_name="none", rejection="raw"
        )


@pytest.mark.parametrize(
    ("fields", "raw", "calibrated"),
    [
        ({}, "", ""),
        (dict(task__label_smoothing=0.1), "label_smoothing=0.1", ""),
        (dict(task__loss="hinge"), "task.loss=hinge", ""),
        (dict(task__loss="least_squares"), "task.loss=least_squares", ""),
        (dict(augment__name="diffaugment"), "augment.name=diffaugment", ""),
        (dict(task__loss="wasserstein"), "no function of the density", "no function of the"),
        (dict(task__loss="relativistic"), "no function of the density", "no function of the"),
        (
            dict(model__disc__minibatch_kernels=3),
            "depend on the whole batch",
            "depend on the whole batch",
        ),
    ],
)
def test_which_discriminators_say_the_odds(
    fields: dict[str, Any], raw: str, calibrated: str
) -> None:
    config = smoke_config("dcgan", **fields)
    task = make_task(config, open_data(config.data).spec)
    for how, says in (("raw", raw), ("calibrated", calibrated)):
        if not says:
            task.check_odds(how)
            continue
        with pytest.raises(UserError, match=says) as error:
            task.check_odds(how)
        assert f"--rejection={how}" in str(error.value)
        assert ("use --rejection=calibrated" in str(error.value)) == (not calibrated)
