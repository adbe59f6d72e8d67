"""Singular values against NumPy's, diversity by hand, and what a run writes of both."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import pytest
from conftest import FAMILIES, Trained
from flax import linen as nn
from scipy.spatial.distance import pdist

import gan_jax
from gan_jax.core.state import NetState, new_state
from gan_jax.models.blocks.spectral import SpectralDense
from gan_jax.rundir.writer import read_metrics
from gan_jax.training.health import diversity, mean_distance, spectral_norms


def exact(kernel: np.ndarray) -> float:
    return float(np.linalg.svd(np.reshape(kernel, (-1, kernel.shape[-1])), compute_uv=False)[0])


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (4, 4, 3, 64), (1000, 1000), (2000, 10), (5, 1)])
def test_power_iterations(shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    params = {"a": {"b": {"kernel": kernel, "bias": np.ones(shape[-1], np.float32)}}}
    state = new_state({"net": NetState(params, {}, (), None)})
    found = jax.jit(spectral_norms)(state)
    assert list(found) == ["spectral_norm/net/a/b"]
    assert 0.9 < found["spectral_norm/net/a/b"] / exact(kernel) < 1 + 1e-5


def test_a_layer_that_keeps_its_vector() -> None:
    """The norm of the unnormalised weight is estimated from the layer's stored vector."""
    module = nn.Sequential([SpectralDense(6), SpectralDense(4)])
    variables = module.init(jax.random.key(0), np.ones((1, 9)))
    weights = [variables["params"][f"layers_{i}"]["kernel"] for i in range(2)]
    lefts = [np.linalg.svd(np.asarray(w).T)[0] for w in weights]
    # The first layer stores its first singular vector, the second layer its second.
    kept = {f"layers_{i}": {"u": lefts[i][:, i]} for i in range(2)}
    state = new_state({"net": NetState(variables["params"], {"spectral": kept}, (), None)})
    found = jax.jit(spectral_norms)(state)
    for i, weight in enumerate(weights):
        values = np.linalg.svd(weight, compute_uv=False)
        assert found[f"spectral_norm/net/layers_{i}"] == pytest.approx(values[i], rel=1e-5)


def test_mean_distance() -> None:
    images = np.random.default_rng(0).standard_normal((9, 4, 5, 3)).astype(np.float32)
    assert mean_distance(images) == pytest.approx(pdist(images.reshape(9, -1)).mean(), rel=1e-9)


def test_diversity() -> None:
    real = np.random.default_rng(0).uniform(-1, 1, (8, 4, 4, 1))
    assert diversity(np.repeat(real[:1], 5, 0), real) < 1e-6, "one image"
    assert diversity(real / 2, real) == pytest.approx(0.5)
    assert diversity(real[::-1], real) == pytest.approx(1)
    assert diversity(real, np.zeros_like(real)) > 1e9, "no variety to compare with"


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_run_writes(name: str, run_of: Callable[[str], Trained]) -> None:
    workdir = run_of(name).workdir
    lines = read_metrics(workdir)
    steps = [line for line in lines if any(k.startswith("grad_norm/") for k in line)]
    state = gan_jax.load(workdir, checkpoint="latest").state
    assert [line["step"] for line in steps] == [1, 2]
    for net in state.nets:
        assert all(line[f"grad_norm/{net}"] > 0 for line in steps)
    if name == "dcgan":
        for side in ("real", "fake"):
            assert all(np.isfinite(line[f"logits/{side}"]) for line in steps)
            assert all(0 <= line[f"accuracy/{side}"] <= 1 for line in steps)
    (signs,) = [line for line in lines if any(k.startswith("spectral_norm/") for k in line)]
    assert signs["step"] == 2
    for name_of, norm in jax.device_get(jax.jit(spectral_norms)(state)).items():
        assert signs[name_of] == pytest.approx(float(norm), rel=1e-5)
    assert ("diversity/samples" in signs) == (name in ("dcgan", "vae"))
