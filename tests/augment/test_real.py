"""Mirrored and dequantised images: by the example's place in the training, pairs alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import first_steps, sgd

from gan_jax.augment.real import make_prepare
from gan_jax.core.state import new_state
from gan_jax.core.task import Phase
from gan_jax.training.step import make_step

KEY = jax.random.key(3)
LEVELS = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)


def batch(draws: int, size: int) -> dict[str, jax.Array]:
    """Return examples whose columns tell a mirror image, numbered by their label."""
    columns = jnp.arange(4.0)[:, None] / 4 * jnp.ones((draws, size, 3, 4, 1))
    labels = jnp.arange(draws * size).reshape(draws, size)
    return {"image": columns, "target": columns[..., :2, :] * 2, "label": labels}


def mirrored(images: jax.Array) -> np.ndarray:
    """Return bool, whether each image of `batch` is one."""
    return np.asarray(images[..., 0, 0, 0] > images[..., 0, -1, 0]).ravel()


def test_half_are_mirrored_and_pairs_alike() -> None:
    found = jax.jit(make_prepare(flip=True, dequantize=False))(batch(4, 64), KEY, jnp.uint32(0))
    flips = mirrored(found["image"])
    assert 100 < flips.sum() < 156
    np.testing.assert_array_equal(mirrored(found["target"]), flips)
    np.testing.assert_array_equal(found["label"], batch(4, 64)["label"])


def test_what_an_example_becomes_depends_on_its_place_alone() -> None:
    """Batches of 8 and of 16, one draw and two; another place in a later epoch is another draw."""
    prepare = jax.jit(make_prepare(flip=True, dequantize=True))
    one = prepare(batch(1, 16), KEY, jnp.uint32(48))["image"].reshape(16, 3, 4, 1)
    two = prepare(batch(2, 8), KEY, jnp.uint32(48))["image"].reshape(16, 3, 4, 1)
    late = prepare(batch(1, 8), KEY, jnp.uint32(56))["image"][0]
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[8:], late)
    other = prepare(batch(1, 16), KEY, jnp.uint32(5000))["image"]
    assert (mirrored(one) != mirrored(other)).any()


def test_dequantised_levels_are_those_of_the_authors() -> None:
    """chainer: x / 128 - 1 + uniform(0, 1/128); TensorFlow: 2 (x / 256 - 0.5) + the same."""
    images = {"image": jnp.asarray(LEVELS / 127.5 - 1)[None].repeat(200, 1)}
    prepare = jax.jit(make_prepare(flip=False, dequantize=True))
    found = prepare(images, KEY, jnp.uint32(0))["image"][0]
    noise = (np.asarray(found, np.float64) - (LEVELS / 128 - 1)) * 128
    assert -1e-4 < noise.min() < 0.01 and 0.99 < noise.max() < 1 + 1e-4
    assert abs(noise.mean() - 0.5) < 0.01 and abs(noise.var() - 1 / 12) < 0.005
    assert found.min() >= -1 and found.max() <= 1 + 1e-6


def test_nothing_asked_is_nothing_done() -> None:
    assert make_prepare(flip=False, dequantize=False) is None


def test_a_step_sees_them() -> None:
    """The step is given the changed images, at the position of its state, and those alone."""
    seen = []

    class Recorder:
        def train_step(self, phase: object, state: object, batch: dict, key: object) -> tuple:
            seen.append(batch)
            return state, {}

    state = new_state({}).replace(position=jnp.uint32(32))
    prepare = make_prepare(flip=True, dequantize=False)
    make_step(Recorder(), 8, prepare)(Phase("train", 2), state, batch(2, 8), KEY)
    expected = prepare(batch(2, 8), KEY, jnp.uint32(32))
    np.testing.assert_array_equal(seen[0]["image"], expected["image"])


@pytest.mark.slow
def test_one_device_and_eight_agree() -> None:
    config = sgd(smoke_config("dcgan", train__batch_size=16, data__flip=True))
    one, eight = (first_steps(config, "jit", devices) for devices in (1, 8))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), one, eight)
