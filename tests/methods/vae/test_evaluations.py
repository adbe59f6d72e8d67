"""What is measured of a VAE by name, on networks whose likelihood has a closed form."""

from __future__ import annotations

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.core.errors import UserError
from gan_jax.core.keys import image_keys
from gan_jax.core.state import NetState, new_state
from gan_jax.core.task import Evaluation
from gan_jax.data.dataset import array_split
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.methods.vae.evaluations import binarized, make_evaluations
from gan_jax.objectives.distributions import Bernoulli, PixelNormal
from gan_jax.parallel.mesh import make_parallel

SHAPE, SCALE = (2, 2, 1), 0.7
W = np.array([[1.0, 0.5], [0.5, -1.0], [1.0, 0.0], [0.0, 1.0]])
VARIANCE = 1 / (1 + np.diag(W.T @ W) / SCALE**2)


class Encoder(nn.Module):
    """The true posterior of x = W z + noise, shifted; or the prior."""

    shift: float
    prior: bool = False

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        if self.prior:
            return (jnp.zeros((len(x), 2)),) * 2
        mean = x.reshape(len(x), 4) @ jnp.asarray(W / SCALE**2 * VARIANCE) + self.shift
        return mean, jnp.broadcast_to(jnp.log(VARIANCE), mean.shape)


class Decoder(nn.Module):
    """W z."""

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        return (z @ jnp.asarray(W).T).reshape(-1, *SHAPE)


def evaluations(likelihood: str, **encoder) -> dict[str, Evaluation]:
    likelihoods = {"gaussian": functools.partial(PixelNormal, scale=SCALE), "bernoulli": Bernoulli}
    return make_evaluations(
        Encoder(**{"shift": 0.0, **encoder}),
        Decoder(),
        image_shape=SHAPE,
        latent=2,
        likelihood=likelihoods[likelihood],
    )


EMPTY = NetState(params={}, extra={}, opt_state=(), ema=None)
STATE = new_state({"encoder": EMPTY, "decoder": EMPTY})


class Bound:
    """An evaluation with its options, as `Task.evaluation` binds them."""

    def __init__(self, evaluation: Evaluation, **options):
        self.eval_step = lambda *a: evaluation.eval_step(*a, **options)
        self.eval_metrics = lambda totals: evaluation.eval_metrics(totals, **options)


def measure(evaluation: Evaluation, images: np.ndarray, batch: int, devices: int = 1, **options):
    evaluator = make_evaluator(
        Bound(evaluation, **options), make_parallel("jit", devices), batch, seed=0
    )
    return evaluator(STATE, array_split({"image": images}))


def test_likelihood_of_a_linear_gaussian_model():
    """Exact where the encoder is the true posterior, whatever the number of samples."""
    images = np.random.default_rng(0).integers(0, 256, (7, *SHAPE)).astype(np.uint8)
    x = images.reshape(7, 4) / 127.5 - 1
    marginal = stats.multivariate_normal(np.zeros(4), W @ W.T + SCALE**2 * np.eye(4))
    for samples in (1, 3):
        found = measure(evaluations("gaussian")["nll"], images, 4, samples=samples, binarize="none")
        assert set(found) == {
            f"{name}/iw{samples}/density" for name in ("nll", "bits_per_dim", "effective_samples")
        }
        nll = -marginal.logpdf(x).mean()
        assert found[f"nll/iw{samples}/density"] == pytest.approx(nll, abs=1e-4)
        assert found[f"effective_samples/iw{samples}/density"] == pytest.approx(samples, abs=1e-3)
    # Inside of the range a level has its density times 2 / 255; at the ends it has the tail, too.
    inside = np.clip(images, 60, 190)
    nll = -marginal.logpdf(inside.reshape(7, 4) / 127.5 - 1).mean()
    found = measure(evaluations("gaussian")["nll"], inside, 4, samples=5, binarize="none")
    bits = (nll / 4 + np.log(127.5)) / np.log(2)
    assert found["bits_per_dim/iw5/density"] == pytest.approx(bits, abs=1e-3)


def test_likelihood_does_not_depend_on_batch_or_devices():
    images = np.random.default_rng(0).integers(0, 256, (13, *SHAPE)).astype(np.uint8)
    step = evaluations("gaussian", shift=0.5)["nll"]
    found = [
        measure(step, images, batch, devices, samples=20, binarize="none")
        for batch, devices in ((1, 1), (5, 1), (16, 8))
    ]
    assert 1 < found[0]["effective_samples/iw20/density"] < 18
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-4)


def test_binary_images_have_probabilities_that_sum_to_one():
    """All 16 binary images of 2x2 pixels, each against a sum over a fine grid of latents."""
    images = np.array(list(itertools.product((0, 255), repeat=4)), np.uint8).reshape(16, *SHAPE)
    grid = np.stack(np.meshgrid(*[np.linspace(-6, 6, 241)] * 2), -1).reshape(-1, 2)
    prior = np.exp(-0.5 * (grid**2).sum(1))
    chance = 1 / (1 + np.exp(-grid @ W.T))
    # From the prior: a posterior that is too narrow would miss what it never draws.
    nll = evaluations("bernoulli", prior=True)["nll"]
    options = dict(samples=4000, binarize="bernoulli")
    step = jax.jit(lambda batch: nll.eval_step(STATE, batch, jax.random.key(0), **options))
    probabilities, exact = [], []
    for i, image in enumerate(images):
        pixels = np.where(image.reshape(4) > 0, chance, 1 - chance).prod(1)
        exact.append((prior * pixels).sum() / prior.sum())
        batch = array_split({"image": images}).get(np.array([i]))
        totals = step({**batch, "index": np.array([i]), "mask": np.ones(1)})
        found = nll.eval_metrics(totals, **options)
        probabilities.append(np.exp(-found["nll/iw4000/bernoulli"]))
        bits = found["nll/iw4000/bernoulli"] / 4 / np.log(2)
        assert found["bits_per_dim/iw4000/bernoulli"] == pytest.approx(bits)
    np.testing.assert_allclose(sum(exact), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities, exact, rtol=0.1)
    np.testing.assert_allclose(sum(probabilities), 1, rtol=0.02)


def test_names_say_what_was_scored():
    nll = evaluations("bernoulli")["nll"]
    totals = {"density": 10.0, "effective_samples": 4.0, "count": 2.0}
    assert nll.eval_metrics(totals, samples=200, binarize="none") == {
        "nll/iw200/grey": 5.0,
        "effective_samples/iw200/grey": 2.0,
    }
    found = nll.eval_metrics(totals, samples=50, binarize="threshold")
    assert found["bits_per_dim/iw50/threshold"] == pytest.approx(5 / 4 / np.log(2))
    images = np.zeros((1, *SHAPE), np.uint8)
    with pytest.raises(UserError, match=r"binarize='threshold'.*Gaussian.*none"):
        measure(evaluations("gaussian")["nll"], images, 1, samples=1, binarize="threshold")


def test_binarized():
    images = np.linspace(-1, 1, 11, dtype=np.float32).repeat(4000).reshape(4, 100, 110, 1)
    keys = image_keys(0, np.arange(4))
    assert binarized(images, keys, how="none") is images
    cut = np.asarray(binarized(images, keys, how="threshold"))
    np.testing.assert_array_equal(cut, np.where(images > 0, 1, -1))
    drawn = np.asarray(binarized(images, keys, how="bernoulli"))
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    share = (drawn.reshape(11, 4000) > 0).mean(1)
    np.testing.assert_allclose(share, np.linspace(0, 1, 11), atol=0.04)
    assert share[0] == 0 and share[-1] == 1
    np.testing.assert_array_equal(binarized(images[2:3], keys[2:3], how="bernoulli"), drawn[2:3])


def test_posterior():
    images = np.random.default_rng(1).integers(0, 256, (30, *SHAPE)).astype(np.uint8)
    means = (images.reshape(30, 4) / 127.5 - 1) @ W / SCALE**2 * VARIANCE
    whole = evaluations("gaussian")
    found = measure(whole["posterior"], images, 8)
    kl = 0.5 * (means**2 + VARIANCE - 1 - np.log(VARIANCE)).mean(0)
    assert found["posterior_kl"] == pytest.approx(kl.sum(), rel=1e-4)
    assert found["active_units"] == (means.var(0) > 0.01).sum() == 2
    assert 0 < found["posterior_moment_kl_margins"] <= found["posterior_moment_kl"] < kl.sum()
    by_dimension = measure(whole["posterior_by_dimension"], images, 8)
    assert len(by_dimension) == 10
    for d in range(2):
        assert by_dimension[f"posterior_kl[{d:03d}]"] == pytest.approx(kl[d], rel=1e-4)
        variance = means.var(0)[d]
        assert by_dimension[f"posterior_variance_of_means[{d:03d}]"] == pytest.approx(
            variance, rel=1e-3
        )
        assert by_dimension[f"posterior_variance[{d:03d}]"] == pytest.approx(
            variance + VARIANCE[d], rel=1e-3
        )
    assert (
        measure(evaluations("gaussian", shift=3.0)["posterior"], images, 8)["posterior_moment_kl"]
        > 5
    )
