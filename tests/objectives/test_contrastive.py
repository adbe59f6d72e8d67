"""Contrastive losses against loops over their definitions, and over eight devices."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.core.task import Phase
from gan_jax.objectives.contrastive import (
    conditional_contrastive,
    data_to_data_cross_entropy,
    normalized_temperature_cross_entropy,
    unit,
)
from gan_jax.parallel.mesh import make_parallel

DRAW = np.random.default_rng(0)
EMBEDDINGS, PROXIES = DRAW.normal(size=(2, 8, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 0, 3, 2], np.int32)
TEMPERATURE = 0.5
MARGINS = dict(positive_margin=0.9, negative_margin=0.1)


def cosines() -> tuple[np.ndarray, np.ndarray]:
    """Return (between images, of each image with its proxy)."""
    x, p = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (EMBEDDINGS, PROXIES))
    return x @ x.T, (x * p).sum(1)


def test_conditional_contrastive_by_definition() -> None:
    between, own = cosines()
    expected = []
    for i in range(8):
        proxy = np.exp(own[i] / TEMPERATURE)
        others = [k for k in range(8) if k != i]
        same = sum(np.exp(between[i, k] / TEMPERATURE) for k in others if LABELS[k] == LABELS[i])
        every = sum(np.exp(between[i, k] / TEMPERATURE) for k in others)
        expected.append(-np.log((proxy + same) / (proxy + every)))
    got = conditional_contrastive(
        embeddings=EMBEDDINGS, proxies=PROXIES, labels=LABELS, temperature=TEMPERATURE
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_data_to_data_cross_entropy_by_definition() -> None:
    between, own = cosines()
    expected = []
    for i in range(8):
        positive = np.exp(min(own[i] - 0.9, 0) / TEMPERATURE)
        negative = sum(
            np.exp(max(between[i, k] - 0.1, 0) / TEMPERATURE)
            for k in range(8)
            if LABELS[k] != LABELS[i]
        )
        expected.append(-np.log(positive / (positive + negative)))
    got = data_to_data_cross_entropy(
        embeddings=EMBEDDINGS,
        proxies=PROXIES,
        labels=LABELS,
        temperature=TEMPERATURE,
        **MARGINS,
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def studiogan_d2d_ce(shift: bool) -> np.ndarray:
    """Return what StudioGAN's Data2DataCrossEntropyLoss computes, an image; without its shift."""
    between, own = cosines()
    found = []
    for i in range(8):
        others = [k for k in range(8) if k != i]
        similar = {k: (between[i, k] - 0.1) / TEMPERATURE for k in others}
        largest = max(similar.values()) if shift else 0.0
        attraction = max((0.9 - own[i]) / TEMPERATURE, 0.0)
        repulsion = sum(
            np.exp(max(similar[k], 0.0) - largest) for k in others if LABELS[k] != LABELS[i]
        )
        found.append(attraction + np.log(np.exp(-attraction) + repulsion))
    return np.array(found)


@pytest.mark.parametrize("shift", [True, False])
def test_data_to_data_cross_entropy_of_the_authors_code(shift: bool) -> None:
    """Their shift is no constant of the loss: without it the code is the paper's equation."""
    got = data_to_data_cross_entropy(
        embeddings=EMBEDDINGS,
        proxies=PROXIES,
        labels=LABELS,
        temperature=TEMPERATURE,
        shift_negatives=shift,
        **MARGINS,
    )
    np.testing.assert_allclose(got, studiogan_d2d_ce(shift), rtol=1e-4, atol=1e-6)
    assert not np.allclose(studiogan_d2d_ce(True), studiogan_d2d_ce(False), atol=0.1)


def test_nt_xent_by_definition() -> None:
    both = np.concatenate([EMBEDDINGS, PROXIES])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    similar = np.exp(both @ both.T / TEMPERATURE)
    each = [
        -np.log(similar[i, (i + 8) % 16] / (similar[i].sum() - similar[i, i])) for i in range(16)
    ]
    expected = (np.array(each[:8]) + each[8:]) / 2
    got = normalized_temperature_cross_entropy(
        first=EMBEDDINGS, second=PROXIES, temperature=TEMPERATURE
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    one = np.ones((8, 3), np.float32)
    got = normalized_temperature_cross_entropy(first=one, second=one, temperature=1.0)
    np.testing.assert_allclose(got, np.full(8, np.log(15)), rtol=1e-5)


def test_a_vector_of_zeros_has_a_finite_gradient() -> None:
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(jnp.zeros((2, 3)))).all()


LOSSES = {
    "2c": functools.partial(conditional_contrastive, temperature=TEMPERATURE),
    "d2d_ce": functools.partial(data_to_data_cross_entropy, temperature=TEMPERATURE, **MARGINS),
    "d2d_ce_authors": functools.partial(
        data_to_data_cross_entropy, temperature=TEMPERATURE, shift_negatives=True, **MARGINS
    ),
    "nt_xent": lambda embeddings, proxies, labels: normalized_temperature_cross_entropy(
        first=embeddings, second=proxies, temperature=TEMPERATURE
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_the_batch_is_that_of_all_devices(name: str, mode: str) -> None:
    """The mean loss and its gradient in a matrix, one example a device, as on the whole batch."""
    matrix = DRAW.normal(size=(5, 5)).astype(np.float32)

    def loss(w: jax.Array, x: Any, p: Any, labels: Any) -> jax.Array:
        return LOSSES[name](embeddings=x @ w, proxies=p @ w, labels=labels).mean()

    def step(phase: Phase, state: Any, batch: Any, key: jax.Array) -> Any:
        given = (batch["x"][0], batch["p"][0], batch["label"][0])
        value, slope = jax.value_and_grad(loss)(state, *given)
        return state, {"value": value} | {f"{i}": s for i, s in enumerate(slope.reshape(-1))}

    parallel = make_parallel(mode, 8)
    batch = {"x": EMBEDDINGS[None], "p": PROXIES[None], "label": LABELS[None]}
    start = parallel.replicate(lambda: jnp.asarray(matrix))
    placed = parallel.place(batch, axis=1)
    _, got = parallel.compile_step(step)(Phase(), start, placed, jax.random.key(0))
    value, slope = jax.value_and_grad(loss)(matrix, EMBEDDINGS, PROXIES, LABELS)
    assert float(got.pop("value")) == pytest.approx(float(value), rel=1e-5)
    found = np.array([got[f"{i}"] for i in range(25)]).reshape(5, 5)
    np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-5)
