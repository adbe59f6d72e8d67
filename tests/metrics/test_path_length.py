"""Perceptual path length in closed form: linear generator, squared distance."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from gan_jax.core.errors import UserError
from gan_jax.core.keys import image_keys
from gan_jax.data import open_data
from gan_jax.evaluation.paths import perceptual_path_length
from gan_jax.library.run import Run
from gan_jax.methods.registry import make_task
from gan_jax.metrics.path_length import path_lengths, slerp, trimmed_mean
from gan_jax.parallel.mesh import make_parallel

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(16, 12)).astype(np.float32) / 4  # latents [16] to images of 2x2x3


def generate(z: jax.Array) -> jax.Array:
    return jnp.matmul(z, MIX, precision="highest").reshape(-1, 2, 2, 3)


def squared(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.square(a - b).sum((1, 2, 3))


def speed(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return |d G(slerp(a, b; t)) / dt|^2 in float64."""
    a, b, t = (np.asarray(x, np.float64) for x in (a, b, t))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    angle = np.arccos((a * b).sum(1) / norms)[:, None]
    t = t[:, None]
    slope = angle * (np.cos(t * angle) * b - np.cos((1 - t) * angle) * a) / np.sin(angle)
    return ((slope @ MIX) ** 2).sum(1)


def test_slerp_runs_along_the_sphere():
    a, b = RNG.normal(size=(2, 5, 4, 4)).astype(np.float32)
    at = lambda t: np.asarray(slerp(a, b, jnp.full(5, t)))  # noqa: E731
    np.testing.assert_allclose(at(0.0), a, atol=1e-6)
    np.testing.assert_allclose(at(1.0), b, atol=1e-6)
    unit = lambda x: x.reshape(5, -1) / np.linalg.norm(x.reshape(5, -1), axis=1)[:, None]  # noqa: E731
    points = [slerp(unit(a), unit(b), jnp.full(5, t)) for t in np.linspace(0, 1, 9)]
    for point in points:
        np.testing.assert_allclose(np.linalg.norm(point, axis=1), 1, atol=1e-5)
    steps = [np.linalg.norm(q - p, axis=1) for p, q in itertools.pairwise(points)]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], (8, 5)), rtol=1e-4)
    np.testing.assert_allclose(slerp(a, a, jnp.full(5, 0.3)), a, rtol=1e-3)


def test_lengths_of_a_linear_generator():
    start, end = RNG.normal(size=(2, 50, 16)).astype(np.float32)
    place = RNG.uniform(size=50).astype(np.float32)
    exact = speed(start, end, place)
    given = dict(start=start, end=end, place=place)
    np.testing.assert_allclose(
        path_lengths(generate, squared, **given, epsilon=1e-2), exact, rtol=0.03
    )
    found = np.asarray(path_lengths(generate, squared, **given))
    np.testing.assert_allclose(found, exact, rtol=0.05)  # what float32 leaves of a step of 1e-4
    np.testing.assert_allclose(found.mean(), exact.mean(), rtol=2e-3)


def test_labels_are_kept():
    """Of a pair (z, label): were labels interpolated, they would be floats, or the other's."""
    start, end = RNG.normal(size=(2, 3, 16)).astype(np.float32)
    labels = np.array([3, 1, 2], np.int32)

    def conditional(latents):
        z, label = latents
        assert label.dtype == jnp.int32
        return generate(z) * label[:, None, None, None]

    place = np.full(3, 0.4, np.float32)
    found = path_lengths(
        conditional, squared, start=(start, labels), end=(end, labels + 5), place=place
    )
    np.testing.assert_allclose(found, labels**2 * speed(start, end, place), rtol=0.05)


def test_trimmed_mean_leaves_out_a_percent_at_either_end():
    lengths = RNG.permutation(np.arange(1000.0))
    lengths[lengths.argmax()] = 1e9
    inside = np.sort(lengths)[9:991]  # the quantiles lie between entries: these are beyond them
    assert trimmed_mean(lengths) == pytest.approx(inside.mean())
    assert trimmed_mean(np.full(200, 3.0)) == 3.0


def linear_run() -> Run:
    config = smoke_config("dcgan")
    task = make_task(config, open_data(config.data).spec)
    linear = {
        "latents": lambda keys, labels, **_: jax.vmap(lambda k: jax.random.normal(k, (16,)))(keys),
        "generate": lambda state, z, **_: generate(z),
    }
    for name, function in linear.items():
        object.__setattr__(task, name, function)
    return Run(Path("run"), config, None, task, {}, 1, make_parallel("jit", 1))


def test_of_a_run():
    run = linear_run()
    (found,) = perceptual_path_length(run, squared, distance_name="l2", num=300).items()
    assert found[0] == "ppl/l2/300"
    keys = image_keys(0, np.arange(300))
    parts = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    start, end = (run.task.latents(parts[:, i], None) for i in range(2))
    exact = speed(start, end, jax.vmap(jax.random.uniform)(parts[:, 2]))
    assert found[1] == pytest.approx(trimmed_mean(exact), rel=5e-3)
    other = perceptual_path_length(
        run, squared, distance_name="l2", num=300, batch_size=77, weights="raw"
    )
    assert other["ppl/l2/300"] == pytest.approx(found[1], rel=1e-3)
    other = perceptual_path_length(run, squared, distance_name="l2", num=300, seed=1)
    assert other["ppl/l2/300"] != pytest.approx(found[1], rel=1e-3)


def test_too_few_paths_are_refused():
    with pytest.raises(UserError, match=r"99 paths, at least 100"):
        perceptual_path_length(linear_run(), squared, distance_name="l2", num=99)
